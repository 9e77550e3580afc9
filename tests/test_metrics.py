import numpy as np
import pytest

from train.metrics import attribute_metrics, expected_calibration_error

# Worked by hand: 4 rows, 3 classes; rows 0, 1 and 3 are right.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
TARGETS = np.array([0, 1, 1, 2])


def test_figures_worked_by_hand():
    figures = attribute_metrics(PROBABILITIES, TARGETS)
    assert figures["accuracy"] == 0.75
    assert figures["top5_accuracy"] == 1
    # F1: class 0 2/3 (one false), class 1 2/3 (one missed), class 2 1
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert figures["cross_entropy"] == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.4]).mean())


def test_a_label_the_network_does_not_know_counts_as_wrong():
    figures = attribute_metrics(PROBABILITIES, np.array([0, 1, -1, 2]))
    assert figures["accuracy"] == 0.75
    assert figures["top5_accuracy"] == 0.75
    assert figures["cross_entropy"] > 20


def test_top_five_counts_the_five_most_probable():
    probabilities = np.tile(np.array([[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]]), (2, 1))
    assert attribute_metrics(probabilities, np.array([4, 5]))["top5_accuracy"] == 0.5


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidences = np.full(10, 0.8)
    assert expected_calibration_error(confidences, np.arange(10) < 8) == pytest.approx(0)
    assert expected_calibration_error(confidences, np.arange(10) < 5) == pytest.approx(0.3)
    mixed = np.array([0.1, 0.95])  # two bins: gaps 0.1 and 0.95
    assert expected_calibration_error(mixed, np.array([False, False])) == pytest.approx(0.525)
    assert expected_calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0
