"""The embedded default on real photographs that it was not trained on: the catalogue's and people's."""

import csv

import numpy as np
import pandas as pd
import pytest

from data_prep.clean_data import parse_row
from data_prep.phone_photographs import LABELS
from data_prep.splits import TEST, hashed_split
from fashion_model.app.handlers import EXAMPLES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import ATTRIBUTES, DATA, TEST_SPLIT
from train.data.table import read_trained_on

PATHS = [example.path for example in EXAMPLES.values()]

# Less by about two standard errors (128 photographs) than what metrics.json has for the whole test split.
ACCURACY_FLOOR = {"color": 0.60, "product_type": 0.80, "season": 0.66, "gender": 0.86}
PHONE_FLOOR = {"color": 0.75, "product_type": 0.70, "gender": 0.72}


@pytest.fixture(scope="module")
def products():
    with (TEST_SPLIT / "styles.csv").open(encoding="utf-8", newline="") as file:
        return [parse_row(row) for row in list(csv.reader(file))[1:]]


def test_it_was_not_trained_on_these_photographs(products):
    trained = read_trained_on(DEFAULT_CHECKPOINT)
    assert len(trained) > 30_000
    assert len(products) >= 100
    assert not trained & {int(product["id"]) for product in products}
    assert not trained & {int(path.stem) for path in PATHS if path.stem.isdigit()}


@pytest.fixture(scope="module")
def phone():
    """The rows of the committed phone photographs, `path` among the columns."""
    table = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
    table["path"] = [DATA / "phone" / f"{image}.jpg" for image in table["image"]]
    return table[[path.is_file() for path in table["path"]]]


def test_the_phone_photographs_are_of_people_it_has_not_learnt_from(phone):
    assert len(phone) == 128
    assert {hashed_split(f"contributor {sender}") for sender in phone["sender"]} == {TEST}


def test_it_is_right_about_phone_photographs(classifier, phone):
    predictions = classifier.predict(phone["path"])
    for name, floor in PHONE_FLOOR.items():
        right = [
            prediction[name].label in accepted.split("|")
            for prediction, accepted in zip(predictions, phone[f"{name}s"], strict=True)
            if accepted != "?"
        ]
        assert len(right) > 100
        assert np.mean(right) >= floor, name
    assert np.mean([prediction.is_fashion for prediction in predictions]) >= 0.93


def test_it_refuses_what_is_no_fashion(classifier):
    pictures = sorted((DATA / "everyday").glob("*.jpg"))
    assert len(pictures) == 24
    assert np.mean([not prediction.is_fashion for prediction in classifier.predict(pictures)]) >= 0.8


def test_black_shoes_on_the_floor_are_shoes(classifier):
    (path,) = [path for path in PATHS if "black-shoes" in path.name]
    prediction = classifier.predict([path])[0]
    assert prediction.is_fashion
    assert "Shoes" in prediction.product_type.label
    assert prediction.color.label == "Black"
    (path,) = [path for path in PATHS if "carton" in path.name]
    assert not classifier.predict([path])[0].is_fashion


def test_it_is_as_right_as_its_metrics_say(classifier, products):
    predictions = classifier.predict([TEST_SPLIT / "images" / f"{product['id']}.jpg" for product in products])
    for attribute in ATTRIBUTES:
        right = [
            p[attribute.name].label == product[attribute.column]
            for p, product in zip(predictions, products, strict=True)
        ]
        assert sum(right) / len(right) >= ACCURACY_FLOOR[attribute.name], attribute.name
