import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from fashion_model.__main__ import main
from fashion_model.batch import overlay_name
from fashion_model.images import open_image
from fashion_model.rows import fields_of
from tests.conftest import NAMES, PRODUCTS, SEVERAL

FIELDS = fields_of(NAMES)
PATHS = sorted((PRODUCTS / "images").iterdir())


@pytest.fixture
def predict(tiny_checkpoint):
    """`python -m fashion_model predict` with a tiny checkpoint; returns the exit status."""
    return lambda *arguments: main(["predict", "--checkpoint", str(tiny_checkpoint), *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    """40 photographs in two folders, more than one batch, two damaged ones and a file of another kind."""
    folder = tmp_path / "photographs"
    for name in ("a", "b/c"):
        (folder / name).mkdir(parents=True)
    for i, path in enumerate(PATHS[:40]):
        shutil.copyfile(path, folder / ("a" if i % 2 else "b/c") / path.name)
    (folder / "empty.jpg").touch()
    (folder / "b" / "cut.jpg").write_bytes(PATHS[0].read_bytes()[:600])
    (folder / "notes.txt").write_text("not asked for")
    return folder


def rows_in(path):
    """The rows of an output of any format."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(lines)) if path.suffix == ".csv" else [json.loads(line) for line in lines]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_folder_becomes_one_row_an_image(folder, predict, tiny_classifier, tmp_path, capsys, ending):
    output = tmp_path / "new" / f"results.{ending}"
    assert predict(folder, "--output", output) == 0
    summary = f"predict: 42 photographs, 2 of them not readable; other files passed over: 1 → {output}\n"
    assert capsys.readouterr().err == summary
    assert list(output.parent.iterdir()) == [output]
    rows = rows_in(output)
    assert {tuple(row) for row in rows} == {(*FIELDS, "checkpoint")}
    assert [row["file"] for row in rows] == sorted(str(path) for path in folder.rglob("*.jpg"))
    assert {Path(row["file"]).name for row in rows if row["error"]} == {"empty.jpg", "cut.jpg"}
    for row in rows:
        if row["error"]:
            assert not any(row[field] for field in FIELDS if field not in ("file", "error"))
            continue
        prediction = tiny_classifier.predict([row["file"]])[0]
        assert row["is_fashion"] in (prediction.is_fashion, "yes" if prediction.is_fashion else "no")
        assert float(row["fashion_score"]) == pytest.approx(prediction.fashion_score, abs=2e-4)
        for name in NAMES:
            confidence = float(row[f"{name}_confidence"])
            assert confidence == pytest.approx(prediction[name].confidence, abs=2e-4)
            assert row[name] == prediction[name].label or confidence < 0.51
    assert len({row["checkpoint"] for row in rows}) == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_products_become_a_row_each(classifier, tmp_path, ending):
    (tmp_path / "letter.jpg").write_text("Dear Sir")
    given, output = [SEVERAL, tmp_path / "letter.jpg", PATHS[1]], tmp_path / f"x.{ending}"
    assert main(["predict", "--products", "--output", *map(str, [output, *given])]) == 0
    rows, found, others = rows_in(output), *(classifier.find(path) for path in given[::2])
    assert len(found) > 2
    assert [row["file"] for row in rows] == [
        *[str(SEVERAL)] * len(found),
        str(given[1]),
        *[str(PATHS[1])] * len(others),
    ]
    assert bool(rows[len(found)]["error"])
    for row, product in zip(rows, found, strict=False):
        assert tuple(int(row[side]) for side in ("left", "top", "right", "bottom")) == product.box
        assert (row["group"], row["product_type"]) == (product.group, product.prediction.product_type.label)
        assert float(row["score"]) == pytest.approx(product.score, abs=1e-4)


def test_standard_output_keeps_the_order_given(predict, tmp_path, capsys):
    odd = os.fsencode(tmp_path) + b"/b\xff.jpg"  # a name that is no text
    shutil.copyfile(PATHS[0], odd)
    given = [str(PATHS[3]), str(PATHS[1]), "nothing.jpg", os.fsdecode(odd), str(PATHS[2])]
    assert predict(*given) == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(printed.out.splitlines()))
    assert [row["file"] for row in rows] == [*given[:3], f"{tmp_path}/b\\udcff.jpg", given[4]]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False]
    assert printed.err == "predict: 5 photographs, 1 of them not readable\n"


def test_overlays_are_written_and_not_labelled(folder, predict, tmp_path):
    same_name = shutil.copyfile(PATHS[1], folder / PATHS[0].name)
    long = shutil.copyfile(PATHS[0], folder / f"{'ü' * 120}.jpg")
    original, heatmaps = folder / "b" / "c" / PATHS[0].name, folder / "a" / "heat"
    paths = (original, same_name, long)
    for _ in range(2):  # the second time the folder has overlays
        assert predict(*paths, heatmaps, "--heatmaps", heatmaps, "--output", tmp_path / "x.csv") == 0
        assert len(rows_in(tmp_path / "x.csv")) == 3
        names = {path.name for path in heatmaps.iterdir()}
        assert names == {overlay_name(str(path), name) for path in paths for name in NAMES}
        assert len(names) == 12
    with Image.open(heatmaps / overlay_name(str(original), "color")) as image:
        assert image.size == open_image(original).size


def test_missing_overlays_are_drawn_when_resumed(predict, tmp_path):
    """Also those of another network; rows stay, also those of files that are not given."""
    heatmaps, output = tmp_path / "heat", tmp_path / "x.jsonl"
    drawn = heatmaps / overlay_name(str(PATHS[1]), "color")
    assert predict(*PATHS[:3], "--output", output) == 0
    rows = output.read_bytes()
    for prepare in (lambda: None, drawn.unlink, lambda: Image.new("RGB", (1, 1)).save(drawn)):
        prepare()
        assert predict(*PATHS[:2], "--output", output, "--resume", "--heatmaps", heatmaps) == 0
        assert output.read_bytes() == rows
        assert len(list(heatmaps.iterdir())) == 8
        with Image.open(drawn) as image:
            assert image.info["checkpoint"] == json.loads(rows.splitlines()[0])["checkpoint"]


@pytest.mark.parametrize("ending", ["csv", None])
def test_interrupted_run_says_how_to_go_on(predict, tmp_path, monkeypatch, capsys, ending):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "iterdir", interrupted)
    given = ["--output", tmp_path / f"x.{ending}"] if ending else []
    assert predict(PATHS[0], tmp_path, *given) == 130
    assert ("--resume goes on from here" in capsys.readouterr().err) is bool(ending)


def test_changed_folder_gets_rows_for_the_new(folder, predict, tmp_path, capsys):
    output = tmp_path / "x.jsonl"
    arguments = [folder, "--output", output, "--resume"]
    assert predict(*arguments) == 0
    before = [row for row in rows_in(output) if not row["error"]]
    (folder / "a" / PATHS[1].name).unlink()
    (folder / "empty.jpg").write_bytes(PATHS[0].read_bytes())
    shutil.copyfile(PATHS[0], folder / "b" / "0.jpg")
    for written in (3, 1):  # what cannot be read is tried again
        capsys.readouterr()
        assert predict(*arguments) == 0
        assert f"{written} photographs, 1 of them not readable" in capsys.readouterr().err
        rows = rows_in(output)
        assert rows[:40] == before
        assert {row["file"] for row in rows[40:]} == {str(folder / n) for n in ("b/0.jpg", "b/cut.jpg", "empty.jpg")}


def test_what_cannot_be_done_is_a_sentence(predict, tmp_path, capsys, monkeypatch):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "finished.csv").touch()
    (tmp_path / "pyarrow.py").write_text("raise SystemError('odd')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    photograph = shutil.copyfile(PATHS[0], tmp_path / "photograph.csv")
    for arguments, message in (
        ([PATHS[0], "--output", tmp_path / "folder.csv"], "Is a directory"),
        ([PATHS[0], "--output", tmp_path / "finished.csv", "--resume"], "is finished"),
        ([tmp_path / "finished.csv", "--output", tmp_path / "finished.csv"], "is given to be labelled"),
        ([tmp_path, "--output", photograph], "is a photograph"),
        ([PATHS[0], "--output", tmp_path / "x.xlsx"], ".csv, .jsonl or .parquet"),
        ([PATHS[0], "--output", tmp_path / "x.parquet"], "pip install pyarrow"),
        ([tmp_path / "folder.csv"], "no image among the files"),
        ([PATHS[0], "--checkpoint", tmp_path], "config.json is missing"),
    ):
        assert predict(*arguments) == 2
        assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} >= {"folder.csv", "finished.csv", photograph.name}
    assert predict(tmp_path / "nothing.jpg") == 1  # its row says so


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name files or folders"),
        ([PATHS[0], "--resume"], "--resume needs an --output"),
        ([PATHS[0], "--engine", "ray"], "--engine ray needs an --output"),
    ],
)
def test_options_that_contradict_are_refused(predict, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        predict(*arguments)
    assert message in " ".join(capsys.readouterr().err.split())
