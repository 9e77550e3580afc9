import numpy as np
import pytest

from tests.conftest import ATTRIBUTES
from train.evaluate.metrics import attribute_metrics, calibration_interval, share
from train.evaluate.tables import markdown

# By hand: 4 images, 3 classes; images 0, 1 and 3 are right.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
LABELS = np.array([0, 1, 1, 2])


def test_metrics_by_hand():
    metrics = attribute_metrics(PROBABILITIES, np.eye(3, dtype=bool)[LABELS], list("abcd"))
    assert (metrics["images"], metrics["accuracy"], metrics["majority_share"]) == (4, 0.75, 0.5)
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["confidence"] == pytest.approx((0.9 + 0.7 + 0.6 + 0.4) / 4)
    assert metrics["calibration_error"] == pytest.approx((0.1 + 0.3 + 0.6 + 0.6) / 4)  # each in a bin of its own


def test_any_accepted_label_is_right():
    accepted = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)  # image 2 has no known label
    metrics = attribute_metrics(PROBABILITIES, accepted, list("abcd"))
    assert metrics["images"] == 3
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert "macro_f1" not in metrics
    assert attribute_metrics(PROBABILITIES, np.zeros((4, 3), dtype=bool), list("abcd")) == {}


@pytest.mark.parametrize(("groups", "independent"), [(range(2000), 2000), (np.repeat(range(20), 100), 20)])
def test_interval_is_as_wide_as_chance_makes_it(groups, independent):
    """20 groups of 100 like images are 20 images."""
    hit = np.repeat(np.arange(independent) % 2 == 0, 2000 // independent)
    measured = share(hit, groups)
    low, high = measured["interval"]
    assert (measured["images"], measured["share"]) == (2000, 0.5)
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / independent) ** 0.5, rel=0.15)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.02)


def test_interval_of_no_error_reaches_0():
    """Correct with the very probability of the confidence: the error measured is noise alone."""
    random = np.random.default_rng(0)
    confidence = random.dirichlet(np.ones(4), 1000).max(axis=1)
    assert calibration_interval(confidence, random.random(1000) < confidence, range(1000))[0] < 0.01
    wrong = calibration_interval(np.full(1000, 0.9), np.arange(1000) % 2 == 0, range(1000))
    assert wrong == pytest.approx([0.4 - 1.96 * 0.0158, 0.4 + 1.96 * 0.0158], abs=0.006)


def of_domain(right, is_fashion=True):
    """Metrics of ten images, `right` of which are recognized and have the right color."""
    probabilities, accepted = np.tile([0.7, 0.3], (10, 1)), np.zeros((10, 2), dtype=bool)
    accepted[:right, 0] = accepted[right:, 1] = True
    attributes = {"color": attribute_metrics(probabilities, accepted, range(10))} if is_fashion else {}
    recognized = share(np.arange(10) < right, range(10))
    return {"images": 10, "is_fashion": is_fashion, "recognized": recognized, "attributes": attributes}


def test_tables_show_what_was_measured():
    domains = {"everyday": of_domain(2, is_fashion=False), "thumbnails": of_domain(4), "phone": of_domain(7)}
    text = markdown(ATTRIBUTES, {"domains": domains, "rows_left_out": 0}, "test")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {first: rest for first, *rest in reversed(lines)}
    phone = rows["clothes, shoes and hats, taken with phones at home"]
    assert phone == ["10", "70.0 (40.0–90.2)", "70.0 (40.0–90.2) yes"]  # no other attribute has a known label
    assert rows["everyday photographs without fashion products"][-1] == "80.0 (50.0–100.0) no"  # is refused
    assert rows["Color"] == ["100.0", "50.0", "28.6", "60.0", "0.865"]
    assert "70.0 / 40.0 / 30.0" in text  # confidence, accuracy, calibration error
