import numpy as np

from tests.conftest import ATTRIBUTES, USAGE
from train.evaluate.metrics import attribute_metrics, share
from train.evaluate.tables import markdown


def of_domain(right, images=10, is_fashion=True, **more):
    """Metrics of a domain where `right` of the images are recognized and their color is right."""
    probabilities, accepted = np.tile([0.7, 0.3], (images, 1)), np.zeros((images, 2), dtype=bool)
    accepted[:right, 0] = accepted[right:, 1] = True
    attributes = {"color": attribute_metrics(probabilities, accepted, range(images))} if is_fashion else {}
    recognized = share(np.arange(images) < right, range(images))
    return {"images": images, "is_fashion": is_fashion, "recognized": recognized, "attributes": attributes} | more


def rows_of(domains, **more):
    """First cell → the other cells of each table row."""
    text = markdown((*ATTRIBUTES, USAGE), {"domains": domains, "rows_left_out": 0} | more, "test")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in reversed(lines)}, text


def test_tables_show_what_was_measured():
    rows, text = rows_of(
        {"everyday": of_domain(2, is_fashion=False), "thumbnails": of_domain(4), "phone": of_domain(7)}
    )
    phone = rows["clothes, shoes and hats, taken with phones at home"]
    assert phone[:2] == ["10", "70.0 (40.0–90.2)"]
    assert phone[-1] == "70.0 (40.0–90.2) yes"
    assert rows["everyday photographs without fashion products"][-1] == "80.0 (50.0–100.0) no"  # is refused
    assert rows["Color"] == ["100.0", "50.0", "28.6", "60.0", "0.865"]
    assert text.index("taken with phones") < text.index("catalogue thumbnails") < text.index("everyday photographs")
    assert "Season of use" not in rows  # no image has a known label
    assert "same label" not in text
    assert "70.0 / 40.0 / 30.0" in text  # confidence, accuracy, calibration error


def test_what_some_checkpoints_have_is_shown():
    gates = {a.name: {"mean": [0.25, 0.75], "deviation": [0.1, 0.1]} for a in (*ATTRIBUTES, USAGE)}
    coarse = {"images": 1234, "share": 0.9, "interval": [0.8, 0.95]}
    more = {"agreement": {"color": 0.5}, "coarse_label": coarse, "rows_left_out": 3}
    rows, text = rows_of({"thumbnails": of_domain(4, gates=gates)}, **more)
    assert rows["Usage"] == ["25.0 (±10.0)", "75.0 (±10.0)"]
    assert "get the same label: color 50.0 %." in text
    assert "contributor's own label in 90.0 (80.0–95.0) % of 1,234 phone photographs" in text
    assert "trained on: 3 rows" in text
