"""The recipe from public data to a checkpoint."""

import os
import subprocess
import sys

from fashion_model import FashionClassifier
from tests.conftest import PRODUCTS, ROOT


def recipe(*arguments):
    environment = os.environ | {"SMOKE": "1", "PYTHON": sys.executable}
    command = ["bash", "train/recipes/default.sh", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, timeout=900, capture_output=True)


def test_the_recipe_goes_from_the_catalogue_alone_to_an_evaluated_checkpoint(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "fashion-product-images-small").symlink_to(PRODUCTS)
    done = recipe(tmp_path / "sources", tmp_path / "made")
    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint = tmp_path / "made" / "checkpoint"
    assert (checkpoint / "report" / "report.html").is_file()
    assert (checkpoint / "README.md").is_file()
    classifier = FashionClassifier.from_pretrained(checkpoint)
    assert classifier.config.image_size == (72, 72)
    assert len(classifier.predict(sorted((PRODUCTS / "images").iterdir())[:2])) == 2


def test_the_recipe_says_what_it_needs(tmp_path):
    done = recipe(tmp_path, tmp_path / "made")
    assert done.returncode == 2
    assert "holds no fashion-product-images-small" in done.stderr
    assert "usage: " in recipe(tmp_path).stderr
