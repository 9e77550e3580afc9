"""The embedded default on real photographs that it was not trained on: the catalogue's and people's."""

import csv
import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from data_prep.clean_data import parse_row
from data_prep.phone_photographs import LABELS
from data_prep.splits import TEST, hashed_split
from fashion_model.app.sentences import sentence_of_products
from fashion_model.app.visit import EXAMPLE_TEXTS, EXAMPLES, FIRST
from fashion_model.attributes import LabelWords
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import ATTRIBUTES, EVERYDAY, PHONE, TEST_SPLIT
from train.data.table import LABEL_WORDS, read_trained_on

# Less by about two standard errors (128 photographs) than what metrics.json has for the whole test split.
CATALOGUE_FLOOR = {"color": 0.59, "product_type": 0.78, "season": 0.61, "gender": 0.84}
PHONE_FLOOR = {"color": 0.75, "product_type": 0.70, "gender": 0.67}


def test_words_are_those_of_the_labels(classifier):
    assert classifier.encoders.words == LabelWords.load(LABEL_WORDS)
    words = classifier.encoders.words
    types = {*classifier.encoders.labels["product_type"]}
    assert {*words.singular, *words.plural} == types | {"Multi", "Unisex"}
    assert {*words.about} < types


def test_products_are_recognized(classifier):
    with (TEST_SPLIT / "styles.csv").open(encoding="utf-8", newline="") as file:
        products = [parse_row(row) for row in list(csv.reader(file))[1:]]
    assert len(products) >= 100
    assert not read_trained_on(DEFAULT_CHECKPOINT) & {product["id"] for product in products}
    predictions = classifier.predict([TEST_SPLIT / "images" / f"{product['id']}.jpg" for product in products])
    for name, column, _ in map(dataclasses.astuple, ATTRIBUTES):
        right = [p[name].label == product[column] for p, product in zip(predictions, products, strict=True)]
        assert np.mean(right) >= CATALOGUE_FLOOR[name], name


def test_phone_photographs_are_recognized(classifier):
    table = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
    table = table[[(PHONE / f"{image}.jpg").is_file() for image in table["image"]]]
    assert len(table) == 128
    assert {hashed_split(f"contributor {sender}") for sender in table["sender"]} == {TEST}
    predictions = classifier.predict([PHONE / f"{image}.jpg" for image in table["image"]])
    for name, floor in PHONE_FLOOR.items():
        pairs = zip(predictions, table[f"{name}s"], strict=True)
        right = [p[name].label in accepted.split("|") for p, accepted in pairs if accepted != "?"]
        assert len(right) > 100
        assert np.mean(right) >= floor, name
    assert np.mean([prediction.is_fashion for prediction in predictions]) >= 0.93


def test_what_is_no_fashion_is_refused(classifier):
    pictures = sorted(EVERYDAY.glob("*.jpg"))
    assert len(pictures) == 24
    assert np.mean([not prediction.is_fashion for prediction in classifier.predict(pictures)]) >= 0.8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_answers_for_examples_are_right(classifier, path):
    products, words = classifier.find(path), EXAMPLE_TEXTS[path.name].lower().removeprefix("a ").split()
    if path.name == FIRST:
        assert {product.group for product in products} == {"outerwear", "trousers", "bag", "belt", "footwear"}
    elif words[-1] == "milk":
        assert not products
    else:
        assert words[-1] in re.findall(r"[\w-]+", sentence_of_products(products))
        assert len(products) == 1
        assert products[0].prediction.color.label.lower() == {"dark": "black"}.get(words[0], words[0])
