import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, top_k_accuracy_score

from train.evaluate.metrics import (
    attribute_metrics,
    calibration_interval,
    expected_calibration_error,
    mean_interval,
    share,
    share_interval,
    single_label_metrics,
)

# By hand: 4 images, 3 classes; images 0, 1 and 3 are right.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
LABELS = np.array([0, 1, 1, 2])


@pytest.fixture
def many():
    """600 predictions over 20 classes, some rare."""
    random = np.random.default_rng(4)
    labels = np.minimum(random.geometric(0.2, 600) - 1, 19)
    probabilities = random.dirichlet(np.ones(20), 600) + 0.3 * np.eye(20)[labels]
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def test_metrics_by_hand():
    found = attribute_metrics(PROBABILITIES, np.eye(3, dtype=bool)[LABELS], list("abcd"))
    assert (found["images"], found["accuracy"], found["top5_accuracy"], found["majority_share"]) == (4, 0.75, 1, 0.5)
    assert found["confidence"] == pytest.approx((0.9 + 0.7 + 0.6 + 0.4) / 4)
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)  # class 0 has one false, class 1 one missed
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.4]).mean())
    assert found["calibration_error"] == pytest.approx((0.1 + 0.3 + 0.6 + 0.6) / 4)  # each in a bin of its own


def test_any_accepted_label_is_right():
    accepted = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)  # image 2 has no known label
    found = attribute_metrics(PROBABILITIES, accepted, list("abcd"))
    assert found["images"] == 3
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert "macro_f1" not in found
    assert attribute_metrics(PROBABILITIES, np.zeros((4, 3), dtype=bool), list("abcd")) == {}


def test_single_label_metrics_are_scikit_learns(many):
    probabilities, labels = many
    found, predicted = single_label_metrics(probabilities, labels), probabilities.argmax(axis=1)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5, labels=range(20)))
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(20)))


def test_calibration_error_by_hand():
    confidences = np.full(10, 0.8)
    assert expected_calibration_error(confidences, np.arange(10) < 8) == pytest.approx(0)
    assert expected_calibration_error(confidences, np.arange(10) < 5) == pytest.approx(0.3)
    mixed = np.array([0.1, 0.95])  # two bins: gaps 0.1 and 0.95
    assert expected_calibration_error(mixed, np.array([False, False])) == pytest.approx(0.525)
    assert expected_calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0


def test_interval_is_as_wide_as_chance_makes_it():
    hit = np.arange(2000) % 2 == 0
    found = share(hit, range(2000))
    assert (found["images"], found["share"]) == (2000, 0.5)
    low, high = found["interval"]
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 2000) ** 0.5, rel=0.1)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.005)
    assert mean_interval(hit, range(2000)) == found["interval"]


def test_interval_is_over_groups():
    """20 groups of 100 like images are 20 images."""
    hit = np.repeat(np.arange(20) % 2 == 0, 100)
    low, high = mean_interval(hit, np.repeat(range(20), 100))
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 20) ** 0.5, rel=0.15)


def test_interval_of_no_error_reaches_0():
    """Correct with the very probability of the confidence: the error measured is noise alone."""
    lows = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        confidence = random.dirichlet(np.ones(4), 1000).max(axis=1)
        lows.append(calibration_interval(confidence, random.random(1000) < confidence, range(1000))[0])
    assert sum(low < 0.01 for low in lows) >= 4
    wrong = calibration_interval(np.full(1000, 0.9), np.arange(1000) % 2 == 0, range(1000))
    assert wrong == pytest.approx([0.4 - 1.96 * 0.0158, 0.4 + 1.96 * 0.0158], abs=0.006)


def test_interval_of_a_share_is_wilsons():
    p, n, z = 0.9, 40, 1.959964
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert share_interval(36, 40) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert share_interval(0, 3)[0] == 0
    assert share_interval(3, 3)[1] == pytest.approx(1)
