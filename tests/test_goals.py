"""How far from the goals: in the direction of each."""

import json

import pytest

from fashion_model.attributes import NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from train.goals import GOALS


@pytest.fixture
def metrics():
    return json.loads((DEFAULT_CHECKPOINT / "metrics.json").read_text())


def goal(title):
    (found,) = (goal for goal in GOALS if goal.title == title)
    return found


def test_what_is_short_is_said_as_rounded(metrics):
    color = metrics["attributes"]["color"]
    accuracy, error = goal("thumbnails, accuracy %"), goal("thumbnails, calibration error %")
    for measured, cell in ((0.69449, "69.4 (≥ 73; 3.6 short)"), (0.73, "73.0 (≥ 73)"), (0.8, "80.0 (≥ 73)")):
        color["accuracy"] = measured
        assert accuracy.cell(metrics, "color") == cell
    for measured, cell in ((0.027, "2.7 (≤ 1.5; 1.2 short)"), (0.01504, "1.5 (≤ 1.5)"), (0.0, "0.0 (≤ 1.5)")):
        color["calibration_error"] = measured
        assert error.cell(metrics, "color") == cell
    color["macro_f1"] = 0.365
    assert goal("thumbnails, macro F1").cell(metrics, "color") == "0.365 (≥ 0.45; 0.085 short)"


def test_every_goal_has_its_own_figure(metrics):
    """Each figure of metrics.json that a goal reads is no other's."""
    places = [places for goal in GOALS for places in goal.places.values()]
    assert len(places) == len(set(places)) == 6 * len(NAMES)
    sharp = goal("sharp photographs, accuracy %, of season balanced")
    metrics["sharp"]["attributes"]["season"]["balanced_accuracy"] = 0.5
    assert sharp.cell(metrics, "season") == "50.0 (≥ 52; 2.0 short)"
