import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.__main__ import main
from fashion_model.batch import overlay_name
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import open_image
from fashion_model.rows import fields_of
from tests.conftest import NAMES, PRODUCTS, ROOT

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


def test_a_folder_becomes_one_row_an_image_in_order(folder, predict, tiny_classifier, tmp_path):
    output = tmp_path / "new" / "results.csv"
    assert predict(folder, "--output", output) == 0
    text = output.read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        "file,color,color_confidence,product_type,product_type_confidence,"
        "season,season_confidence,gender,gender_confidence,error,is_fashion,fashion_score,fashion_threshold"
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
        for name in NAMES:
            confidence = float(row[f"{name}_confidence"])
            assert confidence == pytest.approx(prediction[name].confidence, abs=2e-4)
            assert row[name] == prediction[name].label or confidence < 0.51
    assert len(rows) == 43


def test_files_come_in_the_order_given_on_standard_output(predict, capsys):
    given = [str(PATHS[3]), str(PATHS[1]), "nothing.jpg", str(PATHS[2])]
    assert predict(*given) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["file"] for row in rows] == given
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]


def test_heatmaps_are_written_for_each_photograph_and_attribute(folder, predict, tmp_path):
    same_name = folder / PATHS[0].name
    shutil.copyfile(PATHS[1], same_name)
    heatmaps = tmp_path / "heat"
    original = folder / "b" / "c" / PATHS[0].name
    assert predict(original, same_name, "--heatmaps", heatmaps, "--output", tmp_path / "x.csv") == 0
    names = {path.name for path in heatmaps.iterdir()}
    assert names == {overlay_name(path, name) for path in (original, same_name) for name in NAMES}
    assert len(names) == 8
    with Image.open(heatmaps / overlay_name(original, "color")) as image:
        assert image.size == open_image(original).size


def test_heatmaps_among_the_photographs_are_not_labelled(folder, predict, tmp_path):
    arguments = [folder / "b", "--heatmaps", folder / "b" / "heat", "--output", tmp_path / "x.csv"]
    for _ in range(2):
        assert predict(*arguments) == 0
        assert len(rows_in(tmp_path / "x.csv")) == 21
        assert len(list((folder / "b" / "heat").iterdir())) == 80


def test_the_name_of_an_overlay_depends_on_nothing_but_the_path(tmp_path):
    paths = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"]
    names = [overlay_name(path, "color") for path in paths]
    assert len(set(names)) == 2
    assert all(name.startswith("x.jpg.") and name.endswith(".color.png") for name in names)
    assert names == [overlay_name(path, "color") for path in paths]


def test_a_file_name_that_is_no_text_is_no_reason_to_stop(predict, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a.jpg", b"b\xff.jpg", b"c.jpg"):
        shutil.copyfile(PATHS[0], os.fsencode(folder) + b"/" + name)
    assert predict(folder, "--output", tmp_path / "x.csv") == 0
    assert [row["error"] for row in rows_of((tmp_path / "x.csv").read_text())] == ["", "", ""]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_output_that_cannot_be_written_is_a_sentence(predict, tmp_path, ending, capsys):
    (tmp_path / f"x.{ending}").mkdir()
    assert predict(PATHS[0], "--output", tmp_path / f"x.{ending}") == 2
    assert "Is a directory" in capsys.readouterr().err


def test_a_long_file_name_gets_its_overlays(predict, tmp_path):
    long = shutil.copyfile(PATHS[0], tmp_path / f"{'ü' * 120}.jpg")
    heatmaps = tmp_path / "heat"
    assert predict(long, "--heatmaps", heatmaps, "--output", tmp_path / "x.csv") == 0
    assert len(list(heatmaps.iterdir())) == 4


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_other_formats_hold_the_same_rows_with_numbers_and_null_where_there_is_no_value(
    folder, predict, tmp_path, ending
):
    table, output = tmp_path / "x.csv", tmp_path / f"x.{ending}"
    for path in (table, output):
        assert predict(folder, "--output", path) == 0
    rows = rows_in(output)
    assert [tuple(row) for row in rows] == [FIELDS] * 43
    expected = [{field: value or None for field, value in row.items()} for row in rows_in(table)]
    words = {True: "yes", False: "no", None: None}
    assert_same_rows([row | {"is_fashion": words[row["is_fashion"]]} for row in rows], expected)
    assert {type(row["color_confidence"]) for row in rows} == {float, type(None)}
    assert [path.name for path in tmp_path.glob("x.parquet*")] == ["x.parquet"] * (ending == "parquet")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_killed_run_is_resumed_without_repeating_or_losing_a_row(predict, tiny_checkpoint, tmp_path, ending):
    folder = tmp_path / "photographs"
    for i in range(500):  # the tiny model takes about 5 ms each, and the run has to be killed before it ends
        target = folder / f"{i % 7}" / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(PATHS[i % len(PATHS)])
    (folder / "0" / "letter.jpg").write_text("Dear Sir")
    output = tmp_path / f"killed.{ending}"
    arguments = [str(folder), "--output", str(output)]
    command = [sys.executable, "-m", "fashion_model", "predict", "--checkpoint", str(tiny_checkpoint), *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while not output.exists() or output.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    rows = output.read_bytes()
    assert 3 <= rows.count(b"\n") < 500
    output.write_bytes(rows[:-7])  # as if it had been killed while it wrote this row
    kept = rows[: rows[:-7].rindex(b"\n") + 1]

    assert predict(*arguments, "--resume") == 0
    whole = tmp_path / f"whole.{ending}"
    assert predict(folder, "--output", whole) == 0
    assert_same_rows(rows_in(output), rows_in(whole))
    assert len(rows_in(whole)) == 501
    assert output.read_bytes().startswith(kept)
    # Resumed again, there is nothing left to do.
    before = output.read_bytes()
    assert predict(*arguments, "--resume") == 0
    assert output.read_bytes() == before


def test_parquet_is_not_resumed(predict, tmp_path, capsys):
    output = tmp_path / "new" / "x.parquet"
    assert predict(PATHS[0], "--output", output, "--resume") == 2
    assert "resume to .jsonl and convert it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ending", "resumable"), [("csv", True), ("jsonl", True), ("parquet", False), (None, False)])
def test_an_interrupted_run_says_whether_it_can_be_resumed(predict, tmp_path, monkeypatch, capsys, ending, resumable):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "scandir", interrupted)
    given = [] if ending is None else ["--output", tmp_path / f"x.{ending}"]
    assert predict(PATHS[0], tmp_path, *given) == 130
    assert ("--resume goes on from here" in capsys.readouterr().err) is resumable


def test_a_folder_that_changed_in_the_meantime_gets_rows_for_what_is_new(folder, predict, tmp_path):
    output = tmp_path / "x.csv"
    arguments = [folder, "--output", output, "--resume"]
    assert predict(*arguments) == 0
    before = rows_in(output)
    gone = folder / "a" / PATHS[1].name
    gone.unlink()
    new = [shutil.copyfile(PATHS[0], folder / name) for name in ("0.jpg", "b/0.jpg", "z.jpg")]
    for _ in range(2):
        assert predict(*arguments) == 0
        rows = rows_in(output)
        assert rows[:43] == before
        assert [row["file"] for row in rows[43:]] == [str(path) for path in new]


def test_a_file_named_twice_has_two_rows_after_an_interruption_too(predict, tmp_path):
    output = tmp_path / "x.csv"
    twice = [str(PATHS[0]), str(PATHS[1]), str(PATHS[0])]
    assert predict(*twice[:2], "--output", output) == 0
    assert predict(*twice, "--output", output, "--resume") == 0
    assert [row["file"] for row in rows_in(output)] == twice


def test_overlays_keep_their_names_after_an_interruption(folder, predict, tmp_path):
    shutil.copyfile(PATHS[1], folder / "b" / PATHS[1].name)  # a second file of that name
    output, heatmaps = tmp_path / "x.csv", tmp_path / "heat"
    arguments = [folder, "--output", output, "--heatmaps", heatmaps]
    assert predict(*arguments) == 0
    names = {path.name for path in heatmaps.iterdir()}
    assert len(names) == 4 * 41
    whole = rows_in(output)
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:38]) + lines[38][:9])
    for path in heatmaps.iterdir():
        path.write_bytes(b"old")
    assert predict(*arguments, "--resume") == 0
    assert {path.name for path in heatmaps.iterdir()} == names
    assert_same_rows(rows_in(output), whole)
    missing = [row["file"] for row in whole[37:] if not row["error"]]
    written = {path.name for path in heatmaps.iterdir() if path.read_bytes() != b"old"}
    assert written == {overlay_name(file, name) for file in map(type(folder), missing) for name in NAMES}


def test_rows_are_written_before_the_last_folder_is_looked_at(folder, predict, tmp_path, monkeypatch):
    shutil.copytree(folder / "b" / "c", folder / "a", dirs_exist_ok=True)  # more than a batch
    output, scandir, rows_then = tmp_path / "x.csv", os.scandir, []

    def watched(path):
        if path == folder / "b":
            rows_then.append(len(rows_in(output)))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert predict(folder, "--output", output) == 0
    (rows,) = rows_then
    assert 0 < rows <= 40  # those of the full batches of the folder before
    assert rows % BATCH_SIZE == 0


def test_an_output_that_is_something_else_is_left_as_it_is(predict, tmp_path, capsys):
    parquet = io.BytesIO()
    pd.DataFrame({"price": [1.0]}).to_parquet(parquet)
    for name, content in {
        "short.csv": b"name\n",
        "other.csv": b"name,price\r\n" * 40,
        "x.jsonl": b'{"name": 1}\n{}\n',
        "one.jsonl": b'{"name": 1}\n',
        "no end.jsonl": b'{"name": 1}',
        "x.parquet": b"PAR1",
        "other.parquet": parquet.getvalue(),
    }.items():
        output = tmp_path / name
        output.write_bytes(content)
        assert predict(PATHS[0], "--output", output, "--resume") == 2
        assert output.read_bytes() == content
        assert ("a Parquet file" if output.suffix == ".parquet" else str(output)) in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 7


def test_an_ending_without_a_format_and_parquet_without_pyarrow_are_sentences(predict, tmp_path, capsys, monkeypatch):
    assert predict(PATHS[0], "--output", tmp_path / "x.xlsx") == 2
    assert ".csv, .jsonl or .parquet" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    assert predict(PATHS[0], "--output", tmp_path / "x.parquet") == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_there_has_to_be_an_output_to_resume(capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(PATHS[0]), "--resume"])
    assert "--output" in capsys.readouterr().err


def test_nothing_to_read_and_no_checkpoint_are_sentences_and_exit_statuses(tmp_path, capsys):
    assert main(["predict", str(tmp_path)]) == 2
    assert "no image" in capsys.readouterr().err
    assert main(["predict", str(PATHS[0]), "--checkpoint", str(tmp_path)]) == 2
    assert "config.json is missing" in capsys.readouterr().err


def test_a_fifth_attribute_is_written_after_the_other_fields(usage_checkpoint, tmp_path):
    output, heatmaps = tmp_path / "x.csv", tmp_path / "heat"
    arguments = ["predict", *map(str, PATHS[:9]), "--output", str(output), "--heatmaps", str(heatmaps)]
    assert main([*arguments, "--checkpoint", str(usage_checkpoint)]) == 0
    assert output.read_text(encoding="utf-8").splitlines()[0] == (
        "file,color,color_confidence,product_type,product_type_confidence,season,season_confidence,"
        "gender,gender_confidence,error,is_fashion,usage,usage_confidence,fashion_score,fashion_threshold"
    )
    predictions = FashionClassifier.from_pretrained(usage_checkpoint).predict(PATHS[:9])
    for row, prediction in zip(rows_in(output), predictions, strict=True):
        assert row["usage"] == prediction.usage.label
        assert float(row["usage_confidence"]) == pytest.approx(prediction.usage.confidence, abs=2e-4)
    assert len({row["usage"] for row in rows_in(output)}) > 1
    assert {path.name for path in heatmaps.iterdir()} == {
        overlay_name(path, name) for path in PATHS[:9] for name in (*NAMES, "usage")
    }


def test_the_rows_of_another_checkpoint_are_not_continued(predict, usage_checkpoint, tmp_path, capsys):
    output = tmp_path / "x.csv"
    assert predict(PATHS[0], "--output", output) == 0
    before = output.read_bytes()
    arguments = ["predict", str(PATHS[0]), "--output", str(output), "--resume", "--checkpoint", str(usage_checkpoint)]
    assert main(arguments) == 2
    assert "its columns differ" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.slow
def test_the_module_runs_from_a_shell():
    command = [sys.executable, "-m", "fashion_model", "predict", str(PATHS[0])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert rows_of(result.stdout)[0]["product_type"]


@pytest.mark.slow
def test_a_console_without_the_characters_of_a_name_shows_their_codes(tiny_checkpoint, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fashion_model", "predict", str(tmp_path / "Füße.jpg")]
    command += ["--checkpoint", str(tmp_path / "nirgends für"), "--output", str(tmp_path / "x.csv")]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "nirgends f\\xfcr" in run.stderr
    command = [sys.executable, "-m", "train", "evaluate", "--checkpoint", str(tmp_path), "--data", str(tmp_path / "ß")]
    assert "Traceback" not in subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stderr
