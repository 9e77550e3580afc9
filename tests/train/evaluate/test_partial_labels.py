import numpy as np
import pytest

from train.evaluate.metrics import expected_calibration_error
from train.evaluate.partial_labels import (
    calibration_interval,
    coarse_label_metrics,
    group_interval,
    partial_label_metrics,
    share,
)

GROUPS = ["a", "a", "b", "b", "c"]


def probabilities_of(first, confidence, classes=4):
    """(N, classes) with `confidence` in the first answer and the rest spread evenly."""
    found = np.tile((1 - np.array(confidence))[:, None] / (classes - 1), (1, classes))
    found[np.arange(len(first)), first] = confidence
    return found


def test_an_answer_that_any_reader_accepts_counts_and_unknown_pictures_do_not():
    color = probabilities_of([0, 1, 2, 3, 0], [0.9, 0.8, 0.7, 0.6, 0.5])
    targets = np.array(
        [
            [2 / 3, 1 / 3, 0, 0],  # first, right
            [2 / 3, 1 / 3, 0, 0],  # second, right too
            [0, 0, 0, 1],  # wrong
            [0, 0, 0, 0],  # nobody knows
            [0, 1, 0, 0],  # wrong
        ]
    )
    figures = partial_label_metrics({"color": color}, {"color": targets > 0}, GROUPS)["color"]
    assert figures["images"] == 4
    assert figures["accuracy"] == pytest.approx(0.5)
    assert figures["confidence"] == pytest.approx((0.9 + 0.8 + 0.7 + 0.5) / 4)
    known = np.array([0.9, 0.8, 0.7, 0.5])
    expected = expected_calibration_error(known, np.array([True, True, False, False]))
    assert figures["calibration_error"] == pytest.approx(expected) == pytest.approx((0.1 + 0.2 + 0.7 + 0.5) / 4)
    low, high = figures["accuracy_interval"]
    assert 0 <= low < 0.5 < high <= 1
    low, high = figures["confidence_interval"]
    assert 0.5 <= low < figures["confidence"] < high <= 0.9


def test_an_attribute_that_is_known_of_no_picture_is_left_out():
    answers = {name: probabilities_of([0, 1], [0.9, 0.9]) for name in ("color", "season")}
    targets = {"color": np.eye(2, 4, dtype=bool), "season": np.zeros((2, 4), dtype=bool)}
    assert set(partial_label_metrics(answers, targets, ["a", "b"])) == {"color"}


def test_the_groups_are_those_of_the_pictures_that_are_known():
    """A group with nothing known must not shift the others'."""
    answers = probabilities_of([0] * 6, [0.9] * 6)
    known = np.array([[0.0] * 4, [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    figures = partial_label_metrics({"color": answers}, {"color": known > 0}, list("xaabby"))["color"]
    assert figures["accuracy_interval"] == group_interval(np.array([1, 1, 0, 0]), list("aabb"))
    assert figures["accuracy_interval"] == [0, 1]


def bootstrap_of_pictures(hit):
    drawn = np.random.default_rng(1).integers(len(hit), size=(2000, len(hit)))
    return np.percentile(hit[drawn].mean(axis=1), (2.5, 97.5))


def width(interval):
    return interval[1] - interval[0]


def test_pictures_that_fail_together_widen_the_interval():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    together = np.repeat(random.random(40) < 0.7, 10)
    alone = random.random(400) < 0.7
    of_pictures = width(bootstrap_of_pictures(together))
    assert width(group_interval(together, groups)) == pytest.approx(of_pictures * np.sqrt(10), rel=0.15)
    assert width(group_interval(alone, groups)) == pytest.approx(width(bootstrap_of_pictures(alone)), rel=0.35)
    each = width(group_interval(together, np.arange(400)))
    assert each == pytest.approx(of_pictures, rel=0.1)


def test_the_interval_holds_the_true_share_about_nineteen_times_in_twenty():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        sizes = random.integers(1, 12, 60)
        hit = np.concatenate([random.random(size) < random.beta(7, 3) for size in sizes])
        low, high = group_interval(hit, np.repeat(np.arange(60), sizes))
        held += low <= 0.7 <= high
    assert 0.87 <= held / 100 <= 0.99


@pytest.mark.parametrize("off", [0.0, 0.3])
def test_the_interval_of_a_calibration_error_allows_for_what_noise_adds(off):
    """Of 600 answers by sixty people, right less often by `off` than their confidences say."""
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 600)
    correct = random.random(600) < confidence - off
    groups = np.repeat(np.arange(60), 10)
    low, high = calibration_interval(confidence, correct, groups)
    assert 0 <= low <= off + 0.01 < high
    assert high - low < 0.13
    figure = expected_calibration_error(confidence, correct)
    assert figure > off
    assert low + high < 2 * figure + 0.01  # below the figure, which noise makes larger
    assert calibration_interval(confidence, correct, groups) == [low, high]


def test_an_interval_is_the_same_each_time_and_whatever_the_groups_are_called():
    hit = np.array([True, False, True, True, False])
    assert group_interval(hit, GROUPS) == group_interval(hit, GROUPS) == group_interval(hit, [1, 1, 2, 2, 3])
    assert group_interval(np.ones(5), GROUPS) == [1, 1]
    found = share(hit, GROUPS)
    assert found == {"images": 5, "share": pytest.approx(0.6), "interval": group_interval(hit, GROUPS)}


def test_a_type_is_compared_with_what_the_contributor_called_the_thing():
    types = np.array(["Shirts", "Tshirts", "Jeans", "Casual Shoes", "Watches", "Tops"])
    contributed = ["Shirt", "Shirt", "Pants", "Shoes", "Not sure", "Other"]
    figures = coarse_label_metrics(types, contributed, list("aabbcc"))
    assert figures["images"] == 4  # two contributors did not know
    assert figures["share"] == pytest.approx(3 / 4)
    assert figures["by_label"] == {
        "Pants": {"images": 1, "share": 1.0, "interval": [1.0, 1.0]},
        "Shirt": {"images": 2, "share": 0.5, "interval": [0.5, 0.5]},  # one contributor
        "Shoes": {"images": 1, "share": 1.0, "interval": [1.0, 1.0]},
    }
    assert coarse_label_metrics(types[:1], ["Other"], ["a"]) == {}
    assert figures["interval"] == group_interval(np.array([True, False, True, True]), list("aabb"))
