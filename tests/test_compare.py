"""Recipes compared over seeds."""

import json

import numpy as np
import pytest
from scipy import stats

from fashion_model.attributes import NAMES
from train.__main__ import main
from train.metrics import mean_and_reach


@pytest.fixture
def runs(tmp_path):
    """Three runs of each of two recipes; accuracies and all other figures are their own."""

    def write(name, accuracy, seed, heads, temperature=1.0, metrics=(), **settings):
        figures = {"accuracy": accuracy, "macro_f1": accuracy / 2, "cross_entropy": 1 - accuracy}
        measured = {"split": "validation", "rows": 4162, "attributes": dict.fromkeys(NAMES, figures)}
        (tmp_path / name / "training").mkdir(parents=True)
        for file, document in {
            "metrics.json": measured | {"cross_entropy_sum": 4 * (1 - accuracy)} | dict(metrics),
            "training/fit.json": {"seed": seed, "heads": heads, "epochs": 2, "rows": "digest"} | settings,
            "config.json": {"temperatures": dict.fromkeys(NAMES, temperature)},
        }.items():
            (tmp_path / name / file).write_text(json.dumps(document))
        return str(tmp_path / name)

    base = [write(f"base-{i}", accuracy, i, "linear") for i, accuracy in enumerate((0.70, 0.71, 0.72))]
    other = [write(f"other-{i}", accuracy, i, "moe") for i, accuracy in enumerate((0.71, 0.73, 0.73))]
    return base, other, write


def test_the_interval_is_that_of_a_paired_t_test():
    base, other = np.array([0.1, 0.4, 0.2, 0.9]), np.array([0.3, 0.35, 0.5, 1.0])
    mean, reach = mean_and_reach(other - base)
    expected = stats.ttest_rel(other, base).confidence_interval(0.95)
    assert mean == pytest.approx(other.mean() - base.mean())
    assert (mean - reach, mean + reach) == pytest.approx((expected.low, expected.high))


def test_runs_are_compared_in_pairs(runs, capsys):
    base, other, _ = runs
    assert main(["compare", "--base", *base, "--other", *other]) == 0
    printed = capsys.readouterr().out
    # Differences of 1, 2 and 1 points: mean 4/3, standard error 1/3, and t of two degrees of freedom is 4.303.
    assert "| Color, accuracy % | 71.0 | 72.3 | +1.3 | -0.1 to +2.8 |" in printed
    assert "| four cross-entropies | 1.160 | 1.107 | -0.053 |" in printed
    assert "validation split, 4,162 photographs; seeds 0, 1, 2" in printed
    assert "base and other differ in: heads linear / moe" in printed


def test_what_an_older_run_does_not_name_was_the_default(runs, tmp_path, capsys):
    base, other, _ = runs
    file = tmp_path / "base-0" / "training" / "fit.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "heads"}))
    assert main(["compare", "--base", *base, "--other", *other]) == 0
    assert "differ in: heads linear / moe\n" in capsys.readouterr().out


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
        ((base[:1], [write("test", 0.7, 0, "moe", metrics={"split": "test"})]), "on other photographs"),
        ((base[:1], [write("data", 0.7, 0, "moe", rows="another")]), "on other photographs"),
        ((base[:1], [write("warm", 0.7, 0, "moe", temperature=1.2)]), "is calibrated otherwise"),
        ((base[:2], [other[0], write("long", 0.7, 1, "moe", epochs=3)]), "differ in more than the seed"),
        ((base[:2], other[1::-1]), "a seed of its own"),
        ((base[:1] * 2, other[:1] * 2), "a seed of its own"),
        ((base[:1], [str(tmp_path / "nowhere")]), "run train evaluate"),
        ((base[:1], [silent]), "run train fit"),
    ):
        assert main(["compare", "--base", *arguments[0], "--other", *arguments[1]]) == 2
        assert message in capsys.readouterr().err
