import dataclasses

from tests.conftest import ATTRIBUTES, NAMES, USAGE
from train.evaluate.card import season_section
from train.evaluate.split_metrics import SplitMetrics
from train.evaluate.tables import markdown, negatives_table, shares_table

EMPTY = SplitMetrics(rows_left_out=0, trained_on_known=True, thumbnails={})


def test_each_share_has_the_interval_of_its_own_number_of_images():
    rows = {
        "few": {"images": 40, **dict.fromkeys(NAMES, 0.5)},
        "many": {"images": 4000, **dict.fromkeys(NAMES, 0.5), "gender": 1.0},
    }
    few, many = shares_table(ATTRIBUTES, "title", rows).splitlines()[2:]
    assert few == "| few |" + " 50.0 (35.2–64.8) |" * 4  # Wilson 1927, by hand
    assert many == "| many |" + " 50.0 (48.5–51.5) |" * 3 + " 100.0 (99.9–100.0) |"


def test_crops_of_the_same_photographs_and_means_of_shares_have_no_interval():
    found = {"images": 40, "share": 0.5}
    metrics = dataclasses.replace(EMPTY, negatives=dict.fromkeys(("crop", "photograph", "mean"), found))
    assert negatives_table(metrics).splitlines()[2:5] == [
        "| crops | 40 | 50.0 |",
        "| photographs | 40 | 50.0 (35.2–64.8) |",
        "| mean | 40 | 50.0 |",
    ]


def attribute_metrics(accuracy):
    names = ("accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1", "nll", "majority_share", "calibration_error")
    found = dict.fromkeys(names, accuracy)
    return found | {"calibration_noise_floor": 0.01, "intervals": {name: [0.1, 0.9] for name in names}}


def test_an_attribute_without_labels_has_no_row():
    section = {"images": 10, "nll_sum": 1.0, "recognized": 1.0, "attributes": {"color": attribute_metrics(0.5)}}
    text = markdown((*ATTRIBUTES, USAGE), dataclasses.replace(EMPTY, thumbnails=section), "test")
    assert "| Color | 50.0 (10.0–90.0) |" in text
    assert "Usage" not in text
    assert "phone" not in text


def test_the_season_is_compared_with_its_most_frequent_label():
    season = attribute_metrics(0.7) | {"balanced_accuracy": 0.55, "majority_share": 0.6}
    section = {"attributes": {"season": season}}
    metrics = dataclasses.replace(
        EMPTY, thumbnails=section, high_resolution=section, agreement={"thumbnail": {"season": 0.9}}
    )
    text = season_section(metrics)
    assert "in 70.0 %, where always predicting the most frequent season would be right in 60.0 %" in text
    assert "Averaged over the seasons it is right in 55.0 %" in text
    assert season_section(dataclasses.replace(EMPTY, thumbnails={"attributes": {}})) == ""
