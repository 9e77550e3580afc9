import csv
import io
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from fashion_model.__main__ import FIELDS, main, unique_names
from fashion_model.attributes import NAMES
from fashion_model.images import open_image
from tests.conftest import PRODUCTS, ROOT

PATHS = sorted((PRODUCTS / "images").iterdir())


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


def test_a_folder_becomes_one_row_an_image_in_order(folder, classifier, tmp_path, capsys):
    output = tmp_path / "new" / "results.csv"
    assert main(["predict", str(folder), "--output", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        "file,color,color_confidence,product_type,product_type_confidence,"
        "season,season_confidence,gender,gender_confidence,error,is_fashion"
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
        prediction = classifier.predict([row["file"]])[0]
        assert row["is_fashion"] == ("yes" if prediction.is_fashion else "no")
        for name in NAMES:
            confidence = float(row[f"{name}_confidence"])
            assert confidence == pytest.approx(prediction[name].confidence, abs=2e-4)
            assert row[name] == prediction[name].label or confidence < 0.51
    assert len(rows) == 43


def test_files_come_in_the_order_given_on_standard_output(capsys):
    given = [str(PATHS[3]), str(PATHS[1]), "nothing.jpg", str(PATHS[2])]
    assert main(["predict", *given]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["file"] for row in rows] == given
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]


def test_heatmaps_are_written_for_each_photograph_and_attribute(folder, tmp_path):
    same_name = folder / PATHS[0].name
    shutil.copyfile(PATHS[1], same_name)
    heatmaps = tmp_path / "heat"
    original = folder / "b" / "c" / PATHS[0].name
    assert (
        main(
            ["predict", str(original), str(same_name), "--heatmaps", str(heatmaps), "--output", str(tmp_path / "x.csv")]
        )
        == 0
    )
    names = {path.name for path in heatmaps.iterdir()}
    assert names == {f"{prefix}{PATHS[0].name}.{name}.png" for prefix in ("", "2-") for name in NAMES}
    with Image.open(heatmaps / f"{PATHS[0].name}.color.png") as image:
        assert image.size == open_image(original).size


def test_a_file_name_that_is_no_text_is_no_reason_to_stop(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a.jpg", b"b\xff.jpg", b"c.jpg"):
        shutil.copyfile(PATHS[0], os.fsencode(folder) + b"/" + name)
    assert main(["predict", str(folder), "--output", str(tmp_path / "x.csv")]) == 0
    assert [row["error"] for row in rows_of((tmp_path / "x.csv").read_text())] == ["", "", ""]


def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    assert main(["predict", str(PATHS[0]), "--output", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_a_long_file_name_gets_its_overlays(tmp_path):
    long = shutil.copyfile(PATHS[0], tmp_path / f"{'ü' * 120}.jpg")
    heatmaps = tmp_path / "heat"
    assert main(["predict", str(long), "--heatmaps", str(heatmaps), "--output", str(tmp_path / "x.csv")]) == 0
    assert len(list(heatmaps.iterdir())) == 4


def test_names_stay_apart(tmp_path):
    paths = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "2-x.jpg", tmp_path / "c" / "x.jpg"]
    names = unique_names(paths)
    assert names == ["x.jpg", "2-x.jpg", "2-2-x.jpg", "3-x.jpg"]


def test_nothing_to_read_and_no_checkpoint_are_sentences_and_exit_statuses(tmp_path, capsys):
    assert main(["predict", str(tmp_path)]) == 2
    assert "no image" in capsys.readouterr().err
    assert main(["predict", str(PATHS[0]), "--checkpoint", str(tmp_path)]) == 2
    assert "config.json is missing" in capsys.readouterr().err


def test_the_module_runs_from_a_shell(tmp_path):
    command = [sys.executable, "-m", "fashion_model", "predict", str(PATHS[0])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert rows_of(result.stdout)[0]["product_type"]
