from collections import Counter

import numpy as np
import pytest
from PIL import Image

from data_prep import negatives
from data_prep.negatives import CROPS, MAX_SIDE, PAINTERS
from fashion_model.images import open_image
from tests.data_prep.conftest import EVERYDAY, contents

SPLITS = ("train", "validation", "test")


@pytest.fixture
def few(monkeypatch):
    """Two synthetic images of each kind, and one photograph of a package for each split that has some."""
    monkeypatch.setattr(negatives, "DRAWN", 2)
    first = [(split, package, folder, names.split()[0]) for split, package, folder, names in negatives.PACKAGED]
    monkeypatch.setattr(negatives, "PACKAGED", first)


def test_each_split_has_synthetic_images_and_only_held_out_ones_photographs(few, tmp_path, capsys):
    assert negatives.main(["--output", str(tmp_path), "--photographs", str(EVERYDAY)]) == 0
    found = {split: Counter(path.name.split("-")[0] for path in (tmp_path / split).iterdir()) for split in SPLITS}
    photographs = {"train": 0, "validation": 1, "test": 2 + len(list(EVERYDAY.iterdir()))}
    printed = capsys.readouterr().out.splitlines()
    for split, count in photographs.items():
        expected = {"photograph": count, "crop": CROPS * count, **dict.fromkeys(PAINTERS, 2)}
        assert found[split] == Counter(expected)
        assert f"{split}: " + ", ".join(f"{number} {kind}s" for kind, number in expected.items()) in printed
    assert all(max(open_image(path).size) <= MAX_SIDE for path in tmp_path.glob("*/*.jpg"))


def test_a_second_run_gives_the_same_files_and_deletes_those_of_the_first(few, tmp_path):
    negatives.collect(tmp_path, [EVERYDAY])
    assert any("folder-" in name for name in contents(tmp_path))
    negatives.collect(tmp_path, [])
    again = contents(tmp_path)
    assert not any("folder-" in name for name in again)
    negatives.collect(tmp_path / "other", [])
    assert contents(tmp_path / "other") == again


def test_synthetic_images_differ_between_splits(few, tmp_path):
    negatives.collect(tmp_path, [])
    files = [path.read_bytes() for path in tmp_path.glob("*/*.jpg")]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("kind", PAINTERS)
def test_a_synthetic_image_depends_on_its_seed_only(kind):
    first, again, other = (PAINTERS[kind](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("size", [(400, 300), (300, 900)])
def test_crops_have_the_aspect_ratio_of_the_catalogue(size):
    crops = list(negatives.crops(Image.new("RGB", size), np.random.default_rng(0)))
    assert len(crops) == CROPS
    largest = min(size[1], size[0] * 4 / 3)
    for crop in crops:
        assert crop.width / crop.height == pytest.approx(3 / 4, abs=0.03)
        assert 0.25 * largest - 1 <= crop.height <= 0.75 * largest + 1


def test_a_missing_package_or_a_damaged_photograph_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(negatives, "PACKAGED", ())
    monkeypatch.setattr(negatives, "DRAWN", 1)
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_text("no image")
    arguments = ["--output", str(tmp_path / "out")]
    assert negatives.main([*arguments, "--photographs", str(tmp_path / "photographs")]) == 2
    assert f"negatives: {tmp_path / 'photographs' / 'a.jpg'}: The file is not an image" in capsys.readouterr().err
    monkeypatch.setattr(negatives, "PACKAGED", (("validation", "no_such_package", "data", "a.png"),))
    assert negatives.main(arguments) == 2
    assert "the package no_such_package is not installed" in capsys.readouterr().err
