"""Recipes compared over seeds."""

import json
import shutil

import pytest

from fashion_model.checkpoint import CONFIG
from tests.conftest import NAMES
from train.__main__ import main
from train.evaluate.split_metrics import SplitMetrics, write_split_metrics


@pytest.fixture
def runs(tmp_path, tiny_checkpoint):
    """Three runs of each of two recipes; accuracies and all other metrics are their own."""

    def write(name, accuracy, seed, heads, temperature=1.0, split="validation", images=4162, **settings):
        directory = shutil.copytree(tiny_checkpoint, tmp_path / name)
        config = json.loads((directory / CONFIG).read_text())
        (directory / CONFIG).write_text(json.dumps(config | {"temperatures": dict.fromkeys(NAMES, temperature)}))
        (directory / "training").mkdir()
        fit = {"seed": seed, "heads": heads, "epochs": 2, "rows": "digest"} | settings
        (directory / "training" / "fit.json").write_text(json.dumps(fit))
        metrics = {"accuracy": accuracy, "macro_f1": accuracy / 2, "nll": 1 - accuracy}
        section = {"images": images, "attributes": dict.fromkeys(NAMES, metrics), "nll_sum": 4 * (1 - accuracy)}
        write_split_metrics(directory, split, SplitMetrics(0, True, section))
        return str(directory)

    base = [write(f"base-{i}", accuracy, i, "linear") for i, accuracy in enumerate((0.70, 0.71, 0.72))]
    other = [write(f"other-{i}", accuracy, i, "moe") for i, accuracy in enumerate((0.71, 0.73, 0.73))]
    return base, other, write


def test_runs_are_compared_in_pairs(runs, capsys):
    base, other, _ = runs
    assert main(["compare", "--base", *base, "--other", *other]) == 0
    printed = capsys.readouterr().out
    # Differences of 1, 2 and 1 points: mean 4/3, standard error 1/3, and t of two degrees of freedom is 4.303.
    assert "| Color, accuracy % | 71.0 | 72.3 | +1.3 | -0.1 to +2.8 |" in printed
    assert "| sum of the negative log-likelihoods | 1.160 | 1.107 | -0.053 |" in printed
    assert "validation split, 4,162 images; seeds 0, 1, 2" in printed
    assert "base and other differ in: heads linear / moe" in printed


def test_a_single_pair_has_no_interval(runs, capsys):
    base, other, _ = runs
    assert main(["compare", "--base", base[0], "--other", other[0]]) == 0
    assert "| Color, accuracy % | 70.0 | 71.0 | +1.0 | |" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(runs, tmp_path, capsys):
    base, other, write = runs
    silent = write("silent", 0.7, 0, "moe")
    (tmp_path / "silent" / "training" / "fit.json").unlink()
    for arguments, message in (
        ((base, other[:2]), "3 checkpoints cannot be paired with 2"),
        ((base[:1], [write("test", 0.7, 0, "moe", split="test")]), "has no metrics of the validation split"),
        ((base[:1], [write("few", 0.7, 0, "moe", images=7)]), "on other images"),
        ((base[:1], [write("data", 0.7, 0, "moe", rows="another")]), "on other images"),
        ((base[:1], [write("warm", 0.7, 0, "moe", temperature=1.2)]), "is calibrated otherwise"),
        ((base[:2], [other[0], write("long", 0.7, 1, "moe", epochs=3)]), "differ in more than the seed"),
        ((base[:2], other[1::-1]), "a seed of its own"),
        ((base[:1] * 2, other[:1] * 2), "a seed of its own"),
        ((base[:1], [str(tmp_path / "nowhere")]), "run train fit"),
        ((base[:1], [silent]), "run train fit"),
    ):
        assert main(["compare", "--base", *arguments[0], "--other", *arguments[1]]) == 2
        assert message in capsys.readouterr().err
