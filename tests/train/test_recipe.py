"""The recipe from prepared data to an evaluated checkpoint."""

import pytest

from fashion_model import FashionClassifier
from fashion_model.checkpoint import METRICS, read_json
from tests.conftest import PRODUCTS
from train.__main__ import main
from train.recipes.quick import PUBLISHED


@pytest.mark.slow
def test_the_recipe_runs_to_an_evaluated_checkpoint_and_continues_where_it_was(prepared, tmp_path, capsys):
    command = ["recipe", "default", "--data", str(prepared), "--output", str(tmp_path), "--smoke"]
    command += ["--backbone", "test_efficientnet"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for step in ("fit", "soup", "calibrate", "evaluate", "report"):
        assert f"minutes: python -m train {step} " in printed
    checkpoint = tmp_path / "checkpoint"
    assert (checkpoint / "report" / "report.html").is_file()
    assert (checkpoint / "README.md").is_file()
    classifier = FashionClassifier.from_pretrained(checkpoint)
    assert classifier.config.image_size == (72, 72)
    assert len(classifier.predict(sorted((PRODUCTS / "images").iterdir())[:2])) == 2
    (checkpoint / "training" / "fit.json").unlink()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("done: python -m train fit") == 2
    assert "resuming after epoch 0" in printed


def test_a_step_that_fails_ends_the_recipe(tmp_path, capsys):
    command = ["recipe", "default", "--data", str(tmp_path), "--output", str(tmp_path / "made"), "--smoke"]
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert "data_prep catalogue" in printed
    assert "recipe: fit failed; the same call of the recipe continues here" in printed


@pytest.mark.slow
def test_the_quick_recipe_needs_the_thumbnails_only_and_prints_its_figures(cleaned, tmp_path, capsys):
    command = ["recipe", "quick", "--data", str(cleaned), "--output", str(tmp_path), "--smoke"]
    assert main([*command, "--backbone", "test_efficientnet"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    metrics = read_json(tmp_path / "checkpoint" / METRICS)["splits"]["test"]["thumbnails"]["attributes"]
    for name, published in PUBLISHED.items():
        assert f"{name} {100 * metrics[name]['accuracy']:.1f} %" in last
        assert f"(published {published})" in last
    assert last.endswith("minutes in all")
