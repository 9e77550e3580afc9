import shutil

import pytest

from fashion_model import FashionClassifier
from fashion_model.checkpoint import METRICS, TRAINING, read_json
from tests.conftest import PRODUCTS, TINY
from train.__main__ import main

STEPS = ("fit", "calibrate", "finder", "evaluate", "report")


def recipe(name, data, output):
    command = ["recipe", name, "--data", str(data), "--output", str(output), "--backbone", TINY]
    return main([*command, "--workers", "0", "--smoke"])


@pytest.mark.slow
def test_recipe_ends_in_a_measured_checkpoint(prepared, tmp_path, capsys):
    assert recipe("default", prepared, tmp_path) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if line.endswith(" minutes")] == list(STEPS)
    assert "products in the street: found" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert read_json(tmp_path / TRAINING)["finder"]["settings"]["steps"] == 2
    assert set(read_json(tmp_path / METRICS)["splits"]) == {"validation", "test"}
    classifier = FashionClassifier.from_pretrained(tmp_path)
    assert classifier.config.image_size == (72, 72)
    assert len(classifier.predict(sorted((PRODUCTS / "images").iterdir())[:2])) == 2
    shutil.rmtree(tmp_path / "report")
    assert recipe("default", prepared, tmp_path) == 0  # continues
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.slow
def test_quick_recipe_needs_the_thumbnails_only(cleaned, tmp_path):
    assert recipe("quick", cleaned, tmp_path) == 0
    assert set(read_json(tmp_path / METRICS)["splits"]["test"]["domains"]) == {"thumbnails"}
    assert read_json(tmp_path / TRAINING)["settings"]["shares"] == {"thumbnails": 1.0}
