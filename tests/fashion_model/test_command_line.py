import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time

import pyarrow.parquet
import pytest
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.__main__ import main
from fashion_model.batch import overlay_name
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import open_image
from fashion_model.rows import fields_of
from tests.conftest import NAMES, PRODUCTS, ROOT, saved_model

FIELDS = fields_of(NAMES)
PATHS = sorted((PRODUCTS / "images").iterdir())


@pytest.fixture
def predict(tiny_checkpoint):
    """`python -m fashion_model predict` with a tiny checkpoint; returns the exit status."""
    return lambda *arguments: main(["predict", "--checkpoint", str(tiny_checkpoint), *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    """40 photographs in two folders, more than one batch, and three files that are none."""
    for i, path in enumerate(PATHS[:40]):
        target = tmp_path / "photographs" / ("a" if i % 2 else "b/c") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (tmp_path / "photographs" / "empty.jpg").touch()
    (tmp_path / "photographs" / "letter.png").write_text("Dear Sir")
    (tmp_path / "photographs" / "b" / "cut.jpg").write_bytes(PATHS[0].read_bytes()[:600])
    (tmp_path / "photographs" / "notes.txt").write_text("not asked for")
    return tmp_path / "photographs"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def rows_in(path):
    """The rows of an output of any format."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8")
    return rows_of(text) if path.suffix == ".csv" else [json.loads(line) for line in text.splitlines()]


def assert_same_rows(rows, expected):
    """Confidences depend in their last digit on which photographs are in one batch."""
    numbers = [*(f"{name}_confidence" for name in NAMES), "fashion_score", "fashion_threshold"]
    words = [field for field in FIELDS if field not in numbers]
    assert [[row[field] for field in words] for row in rows] == [[row[field] for field in words] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        for field in numbers:
            assert float(row[field] or 0) == pytest.approx(float(other[field] or 0), abs=2e-4)


def test_a_folder_becomes_one_row_an_image(folder, predict, tiny_classifier, tmp_path, capsys):
    output = tmp_path / "new" / "results.csv"
    assert predict(folder, "--output", output) == 0
    assert (
        capsys.readouterr().err
        == f"predict: 43 photographs, 3 of them not readable; other files passed over: 1 → {output}\n"
    )
    text = output.read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        "file,color,color_confidence,product_type,product_type_confidence,"
        "season,season_confidence,gender,gender_confidence,error,is_fashion,fashion_score,fashion_threshold,checkpoint"
    )
    rows = rows_of(text)
    assert [row["file"] for row in rows] == sorted(str(p) for p in folder.rglob("*.*") if p.suffix != ".txt")
    failed = {row["file"].rsplit("/", 1)[1]: row["error"] for row in rows if row["error"]}
    assert set(failed) == {"empty.jpg", "letter.png", "cut.jpg"}
    assert "empty" in failed["empty.jpg"]
    for row in rows:
        if row["error"]:
            assert not any(row[field] for field in FIELDS if field not in ("file", "error"))
            continue
        prediction = tiny_classifier.predict([row["file"]])[0]
        assert row["is_fashion"] == ("yes" if prediction.is_fashion else "no")
        assert float(row["fashion_score"]) == pytest.approx(prediction.fashion_score, abs=2e-4)
        for name in NAMES:
            confidence = float(row[f"{name}_confidence"])
            assert confidence == pytest.approx(prediction[name].confidence, abs=2e-4)
            assert row[name] == prediction[name].label or confidence < 0.51
    assert len({row["checkpoint"] for row in rows}) == 1


def test_standard_output_keeps_the_order_given(predict, capsys):
    given = [str(PATHS[3]), str(PATHS[1]), "nothing.jpg", str(PATHS[2])]
    assert predict(*given) == 0
    printed = capsys.readouterr()
    rows = rows_of(printed.out)
    assert [row["file"] for row in rows] == given
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert printed.err == "predict: 4 photographs, 1 of them not readable\n"


@pytest.mark.parametrize("output", [(), ("--output", "x.csv")])
def test_status_is_one_if_nothing_could_be_read(predict, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    assert predict("nothere.jpg", *output) == 1


def test_overlays_are_written_for_each_photograph(folder, predict, tmp_path):
    same_name = shutil.copyfile(PATHS[1], folder / PATHS[0].name)
    long = shutil.copyfile(PATHS[0], folder / f"{'ü' * 120}.jpg")
    heatmaps, original = tmp_path / "heat", folder / "b" / "c" / PATHS[0].name
    paths = (original, same_name, long)
    for _ in range(2):  # the same names again
        assert predict(*paths, "--heatmaps", heatmaps, "--output", tmp_path / "x.csv") == 0
        names = {path.name for path in heatmaps.iterdir()}
        assert names == {overlay_name(path, name) for path in paths for name in NAMES}
        assert len(names) == 12
    assert overlay_name(original, "color").startswith(f"{PATHS[0].name}.")
    assert overlay_name(original, "color").endswith(".color.png")
    with Image.open(heatmaps / overlay_name(original, "color")) as image:
        assert image.size == open_image(original).size


def test_overlays_are_not_labelled(folder, predict, tmp_path):
    arguments = [folder / "b", "--heatmaps", folder / "b" / "heat", "--output", tmp_path / "x.csv"]
    for _ in range(2):
        assert predict(*arguments) == 0
        assert len(rows_in(tmp_path / "x.csv")) == 21
        assert len(list((folder / "b" / "heat").iterdir())) == 80


def test_a_file_name_that_is_no_text_has_a_row(predict, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a.jpg", b"b\xff.jpg", b"c.jpg"):
        shutil.copyfile(PATHS[0], os.fsencode(folder) + b"/" + name)
    assert predict(folder, "--output", tmp_path / "x.csv") == 0
    assert [row["error"] for row in rows_of((tmp_path / "x.csv").read_text())] == ["", "", ""]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_other_formats_hold_the_same_rows(folder, predict, tmp_path, ending):
    table, output = tmp_path / "x.csv", tmp_path / f"x.{ending}"
    for path in (table, output):
        assert predict(folder, "--output", path) == 0
    rows = rows_in(output)
    assert [tuple(row) for row in rows] == [(*FIELDS, "checkpoint")] * 43
    expected = [{field: value or None for field, value in row.items()} for row in rows_in(table)]
    words = {True: "yes", False: "no", None: None}
    assert_same_rows([row | {"is_fashion": words[row["is_fashion"]]} for row in rows], expected)
    assert {type(row["color_confidence"]) for row in rows} == {float, type(None)}
    assert sorted(path.name for path in tmp_path.glob("x.*")) == sorted(["x.csv", output.name])


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_killed_run_is_resumed_where_it_ended(predict, tiny_checkpoint, tmp_path, ending):
    folder = tmp_path / "photographs"
    for i in range(500):  # the tiny model takes about 5 ms each, and the run has to be killed before it ends
        target = folder / f"{i % 7}" / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(PATHS[i % len(PATHS)])
    (folder / "0" / "letter.jpg").write_text("Dear Sir")
    output = tmp_path / f"killed.{ending}"
    journal = output if ending == "jsonl" else tmp_path / f"killed.{ending}.unfinished.jsonl"
    arguments = [str(folder), "--output", str(output)]
    command = [sys.executable, "-m", "fashion_model", "predict", "--checkpoint", str(tiny_checkpoint), *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    rows = journal.read_bytes()
    assert 3 <= rows.count(b"\n") < 500
    journal.write_bytes(rows[:-7])  # as if it had been killed while it wrote this row
    kept = rows[: rows[:-7].rindex(b"\n") + 1]

    assert predict(*arguments, "--resume") == 0
    whole = tmp_path / f"whole.{ending}"
    assert predict(folder, "--output", whole) == 0
    assert_same_rows(rows_in(output), rows_in(whole))
    assert len(rows_in(whole)) == 501
    if ending == "jsonl":
        before = output.read_bytes()
        assert before.startswith(kept)
        assert predict(*arguments, "--resume") == 0  # there is nothing left to do
        assert output.read_bytes() == before


@pytest.mark.parametrize(("ending", "resumable"), [("csv", True), ("jsonl", True), ("parquet", True), (None, False)])
def test_an_interrupted_run_says_how_to_go_on(predict, tmp_path, monkeypatch, capsys, ending, resumable):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "scandir", interrupted)
    given = [] if ending is None else ["--output", tmp_path / f"x.{ending}"]
    assert predict(PATHS[0], tmp_path, *given) == 130
    assert ("--resume goes on from here" in capsys.readouterr().err) is resumable


def test_a_changed_folder_gets_rows_for_the_new(folder, predict, tmp_path):
    output = tmp_path / "x.jsonl"
    arguments = [folder, "--output", output, "--resume"]
    assert predict(*arguments) == 0
    before = rows_in(output)
    (folder / "a" / PATHS[1].name).unlink()
    new = [shutil.copyfile(PATHS[0], folder / name) for name in ("0.jpg", "b/0.jpg", "z.jpg")]
    for _ in range(2):
        assert predict(*arguments) == 0
        rows = rows_in(output)
        assert rows[:43] == before
        assert [row["file"] for row in rows[43:]] == [str(path) for path in new]


def test_a_file_named_twice_has_two_rows(predict, tmp_path):
    output = tmp_path / "x.jsonl"
    twice = [str(PATHS[0]), str(PATHS[1]), str(PATHS[0])]
    assert predict(*twice[:2], "--output", output) == 0
    assert predict(*twice, "--output", output, "--resume") == 0
    assert [row["file"] for row in rows_in(output)] == twice


def test_a_resumed_run_writes_missing_overlays(folder, predict, tmp_path):
    output, heatmaps = tmp_path / "x.jsonl", tmp_path / "heat"
    arguments = [folder, "--output", output, "--heatmaps", heatmaps]
    assert predict(*arguments) == 0
    whole, lines = rows_in(output), output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:37]) + lines[37][:9])
    for path in heatmaps.iterdir():
        path.write_bytes(b"old")
    assert predict(*arguments, "--resume") == 0
    assert_same_rows(rows_in(output), whole)
    missing = [row["file"] for row in whole[37:] if not row["error"]]
    written = {path.name for path in heatmaps.iterdir() if path.read_bytes() != b"old"}
    assert written == {overlay_name(file, name) for file in map(type(folder), missing) for name in NAMES}


def test_rows_are_written_while_folders_are_read(folder, predict, tmp_path, monkeypatch):
    shutil.copytree(folder / "b" / "c", folder / "a", dirs_exist_ok=True)  # more than a batch
    output, scandir, rows_then = tmp_path / "x.jsonl", os.scandir, []

    def watched(path):
        if path == folder / "b":
            rows_then.append(len(rows_in(output)))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert predict(folder, "--output", output) == 0
    (rows,) = rows_then
    assert 0 < rows <= 40  # those of the full batches of the folder before
    assert rows % BATCH_SIZE == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("finished.csv", b"file\n", "is finished"),
        ("finished.parquet", b"PAR1", "is finished"),
        ("x.jsonl", b'{"name": 1}\n{}\n', "its columns differ"),
        ("text.jsonl", b"Dear Sir\n", "byte 0 begins no row"),
        ("no end.jsonl", b'{"name": 1}', "byte 0 begins no row"),
    ],
)
def test_a_foreign_file_is_not_continued(predict, tmp_path, capsys, name, content, message):
    output = tmp_path / name
    output.write_bytes(content)
    assert predict(PATHS[0], "--output", output, "--resume") == 2
    assert output.read_bytes() == content
    printed = capsys.readouterr().err
    assert str(output) in printed
    assert message in printed
    assert list(tmp_path.iterdir()) == [output]


def test_wrong_outputs_are_sentences(predict, tmp_path, capsys, monkeypatch):
    (tmp_path / "folder.csv").mkdir()
    assert predict(PATHS[0], "--output", tmp_path / "folder.csv") == 2
    assert "Is a directory" in capsys.readouterr().err
    assert predict(PATHS[0], "--output", tmp_path / "x.xlsx") == 2
    assert ".csv, .jsonl or .parquet" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    assert predict(PATHS[0], "--output", tmp_path / "x.parquet") == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name files or folders"),
        ([PATHS[0], "--resume"], "--resume needs an --output"),
        ([PATHS[0], "--engine", "ray"], "--engine ray needs an --output"),
        ([PATHS[0], "--engine", "ray", "--output", "x.parquet", "--workers", "0"], "at least one worker"),
    ],
)
def test_options_that_contradict_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *map(str, arguments)])
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([ROOT / "train"], "no image among the files"),
        ([PATHS[0], "--checkpoint", ROOT / "train"], "config.json is missing"),
    ],
)
def test_what_cannot_be_found_is_a_sentence(capsys, arguments, message):
    assert main(["predict", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_fifth_attribute_follows_the_others(usage_checkpoint, tmp_path):
    output, heatmaps = tmp_path / "x.csv", tmp_path / "heat"
    arguments = ["predict", *map(str, PATHS[:9]), "--output", str(output), "--heatmaps", str(heatmaps)]
    assert main([*arguments, "--checkpoint", str(usage_checkpoint)]) == 0
    assert output.read_text(encoding="utf-8").splitlines()[0] == (
        "file,color,color_confidence,product_type,product_type_confidence,season,season_confidence,"
        "gender,gender_confidence,error,is_fashion,usage,usage_confidence,fashion_score,fashion_threshold,checkpoint"
    )
    predictions = FashionClassifier.from_pretrained(usage_checkpoint).predict(PATHS[:9])
    for row, prediction in zip(rows_in(output), predictions, strict=True):
        assert row["usage"] == prediction.usage.label
        assert float(row["usage_confidence"]) == pytest.approx(prediction.usage.confidence, abs=2e-4)
    assert len({row["usage"] for row in rows_in(output)}) > 1
    expected = {overlay_name(path, name) for path in PATHS[:9] for name in (*NAMES, "usage")}
    assert {path.name for path in heatmaps.iterdir()} == expected


def test_another_checkpoint_continues_no_rows(predict, tiny_model, tmp_path, capsys):
    """It has the same attributes and labels, and other weights."""
    output = tmp_path / "x.jsonl"
    assert predict(PATHS[0], "--output", output) == 0
    before = output.read_bytes()
    tiny_model.heads.linear["color"].bias.data += 0.01
    other = saved_model(tiny_model, tmp_path / "other")
    assert main(["predict", str(PATHS[0]), "--output", str(output), "--resume", "--checkpoint", str(other)]) == 2
    assert "rows of another checkpoint" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.slow
def test_the_module_runs_from_a_shell():
    command = [sys.executable, "-m", "fashion_model", "predict", str(PATHS[0])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert rows_of(result.stdout)[0]["product_type"]
    assert result.stderr == ""


@pytest.mark.slow
def test_an_ascii_console_shows_codes(tiny_checkpoint, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fashion_model", "predict", str(tmp_path / "Füße.jpg")]
    command += ["--checkpoint", str(tmp_path / "nirgends für"), "--output", str(tmp_path / "x.csv")]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "nirgends f\\xfcr" in run.stderr
    command = [sys.executable, "-m", "train", "evaluate", "--checkpoint", str(tmp_path), "--data", str(tmp_path / "ß")]
    assert "Traceback" not in subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stderr
