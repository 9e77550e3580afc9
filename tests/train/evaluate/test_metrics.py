import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from train.evaluate.metrics import (
    LabeledPredictions,
    calibration_noise_floor,
    classification_metrics,
    expected_calibration_error,
    intervals,
    mean_interval,
    share_interval,
)

# Worked by hand: 4 rows, 3 classes; rows 0, 1 and 3 are right.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
TARGETS = np.array([0, 1, 1, 2])


def metrics_of(probabilities, targets):
    return classification_metrics(LabeledPredictions.of(probabilities, targets))


@pytest.fixture
def many():
    """600 predictions over 20 classes, some rare."""
    random = np.random.default_rng(4)
    targets = np.minimum(random.geometric(0.2, 600) - 1, 19)
    probabilities = random.dirichlet(np.ones(20), 600) + 0.3 * np.eye(20)[targets]
    return probabilities / probabilities.sum(axis=1, keepdims=True), targets


def test_figures_worked_by_hand():
    found = metrics_of(PROBABILITIES, TARGETS)
    assert found["accuracy"] == 0.75
    assert found["top5_accuracy"] == 1
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    # F1: class 0 2/3 (one false), class 1 2/3 (one missed), class 2 1
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["majority_share"] == 0.5
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.4]).mean())


def test_top_five_counts_the_five_most_probable():
    probabilities = np.tile(np.array([[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]]), (2, 1))
    assert metrics_of(probabilities, np.array([4, 5]))["top5_accuracy"] == 0.5


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidences = np.full(10, 0.8)
    assert expected_calibration_error(confidences, np.arange(10) < 8) == pytest.approx(0)
    assert expected_calibration_error(confidences, np.arange(10) < 5) == pytest.approx(0.3)
    mixed = np.array([0.1, 0.95])  # two bins: gaps 0.1 and 0.95
    assert expected_calibration_error(mixed, np.array([False, False])) == pytest.approx(0.525)
    assert expected_calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0


def test_macro_averages_are_those_of_scikit_learn(many):
    probabilities, targets = many
    found, predicted = metrics_of(probabilities, targets), probabilities.argmax(axis=1)
    assert found["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets, predicted))


def test_intervals_hold_the_figures_and_narrow_with_more_photographs(many):
    probabilities, targets = many
    found, bounds = metrics_of(probabilities, targets), intervals(LabeledPredictions.of(probabilities, targets), 200)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll"):
        low, high = bounds[name]
        assert low <= found[name] <= high
        assert low < high
    low, high = bounds["calibration_error"]
    assert 0 <= low < high
    more = intervals(LabeledPredictions.of(np.tile(probabilities, (9, 1)), np.tile(targets, 9)), 200)
    widths = [b["accuracy"][1] - b["accuracy"][0] for b in (bounds, more)]
    assert widths[1] == pytest.approx(widths[0] / 3, rel=0.3)


def test_the_interval_of_accuracy_is_as_wide_as_chance_makes_it():
    """Though right answers are frequent in one class and rare in the other: photographs of both are drawn."""
    probabilities = np.tile([[0.9, 0.1]], (2000, 1))
    low, high = intervals(LabeledPredictions.of(probabilities, np.arange(2000) % 2), 500)["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 2000) ** 0.5, rel=0.1)


def test_no_class_is_lost_where_the_mean_is_over_classes():
    answers = LabeledPredictions.of(np.tile([[0.9, 0.1]], (101, 1)), np.array([0] * 100 + [1]))
    assert intervals(answers, 50)["balanced_accuracy"] == [0.5, 0.5]


def test_the_interval_of_a_perfect_calibration_reaches_down_to_nothing():
    """Labels drawn from the very probabilities: the error found is noise alone."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(5):
        probabilities = random.dirichlet(np.ones(4), 1000)
        targets = (random.random((1000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        inside += intervals(LabeledPredictions.of(probabilities, targets), 200)["calibration_error"][0] < 0.01
    assert inside >= 4


@pytest.mark.parametrize("rows", [200, 20_000])
def test_confidences_as_true_as_can_be_show_the_error_of_chance(rows):
    random = np.random.default_rng(1)
    confident = random.uniform(0.5, 1, rows)
    probabilities = np.stack([confident, 1 - confident], axis=1)
    targets = (random.random(rows) > confident).astype(int)
    found = metrics_of(probabilities, targets)["calibration_error"]
    by_chance = calibration_noise_floor(LabeledPredictions.of(probabilities, targets))
    assert by_chance == pytest.approx(found, rel=0.6)
    assert by_chance == pytest.approx(0.8 * (0.19 * 7.5 / rows) ** 0.5, rel=0.2)  # mean |deviation| of 7.5 bins


def test_the_interval_of_a_mean_is_that_of_a_paired_t_test():
    base, other = np.array([0.1, 0.4, 0.2, 0.9]), np.array([0.3, 0.35, 0.5, 1.0])
    mean, half = mean_interval(other - base)
    expected = stats.ttest_rel(other, base).confidence_interval(0.95)
    assert mean == pytest.approx(other.mean() - base.mean())
    assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_share_is_wilsons():
    p, n, z = 0.9, 40, 1.959964
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert share_interval(36, 40) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert share_interval(0, 3)[0] == 0
    assert share_interval(3, 3)[1] == pytest.approx(1)
