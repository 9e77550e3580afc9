import csv
import io
import json

import numpy as np
import pytest

from fashion_model.images import ImageError
from fashion_model.predictions import AttributePrediction, Prediction
from fashion_model.rows import csv_format, csv_of, fields_of, json_lines_format, row_of
from tests.conftest import NAMES, USAGE

FOUR = (
    *("file", "color", "color_confidence", "product_type", "product_type_confidence"),
    *("season", "season_confidence", "gender", "gender_confidence", "error", "is_fashion"),
)
SCORES = ("fashion_score", "fashion_threshold")


def prediction_of(names):
    probabilities = np.array([0.123456, 0.876544], dtype=np.float32)
    answers = {name: AttributePrediction((f"no {name}", f"a {name}"), probabilities) for name in names}
    return Prediction(answers, fashion_score=1.0, fashion_threshold=-0.5)


def test_the_fields_of_four_attributes_stay_in_place_when_a_fifth_follows():
    assert fields_of(NAMES) == (*FOUR, *SCORES)
    assert fields_of((*NAMES, USAGE.name)) == (*FOUR, "usage", "usage_confidence", *SCORES)
    assert fields_of(["fit"]) == ("file", "fit", "fit_confidence", "error", "is_fashion", *SCORES)


@pytest.mark.parametrize("names", [NAMES, (*NAMES, USAGE.name), ("fit",)])
def test_a_row_has_the_fields_in_order_whether_or_not_the_photograph_is_readable(names):
    good = row_of("x.jpg", prediction_of(names), names)
    bad = row_of("y.jpg", ImageError("The file is empty."), names)
    assert tuple(good) == tuple(bad) == fields_of(names)
    assert (good["file"], good["error"], good["is_fashion"]) == ("x.jpg", None, True)
    assert (good["fashion_score"], good["fashion_threshold"]) == (1.0, -0.5)
    assert all((good[name], good[f"{name}_confidence"]) == (f"a {name}", 0.8765) for name in names)
    assert {field: value for field, value in bad.items() if value is not None} == {
        "file": "y.jpg",
        "error": "The file is empty.",
    }


def test_csv_and_json_lines_hold_the_values_of_a_row():
    names = (*NAMES, USAGE.name)
    rows = [row_of("x.jpg", prediction_of(names), names), row_of("y.jpg", ImageError("The file is empty."), names)]
    good, bad = csv.DictReader(io.StringIO(csv_of(rows, names)))
    assert (good["usage"], good["usage_confidence"], good["is_fashion"], good["error"]) == (
        "a usage",
        "0.8765",
        "yes",
        "",
    )
    assert (bad["error"], bad["is_fashion"], bad["usage"]) == ("The file is empty.", "", "")
    assert [json.loads(json_lines_format(names).line(row)) for row in rows] == rows


def test_a_row_needs_every_attribute_it_names():
    with pytest.raises(KeyError):
        row_of("x.jpg", prediction_of(NAMES), (*NAMES, USAGE.name))


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "'=1.jpg"])
def test_a_spreadsheet_calculates_no_name_and_a_continued_run_knows_it(name):
    text = csv_of([row_of(name, prediction_of(NAMES), NAMES)], NAMES)
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["file"] == f"'{name}"
    lines = iter(text.splitlines(keepends=True)[1:])
    assert list(csv_format(NAMES).files(lines)) == [name]


def test_other_names_stay_as_they_are():
    for name in ("a=b.jpg", "'quoted'.jpg", "shoe.jpg"):
        (row,) = csv.DictReader(io.StringIO(csv_of([row_of(name, prediction_of(NAMES), NAMES)], NAMES)))
        assert row["file"] == name
