"""A prediction in words, and as HTML without a browser."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fashion_model.app.answer import (
    ADVICE,
    BACKDROP_SIDE,
    MAP_SIDE,
    NOT_FASHION,
    answer_html,
    caption_of,
    document_of,
    error_html,
    in_words,
    percent,
    sentence_of,
    shown,
)
from fashion_model.attributes import Attribute
from fashion_model.explain import backdrop, overlay
from fashion_model.predictions import AttributePrediction, Prediction
from tests.conftest import ATTRIBUTES
from tests.fashion_model.app.conftest import FakeClassifier

COLOR, PRODUCT_TYPE, SEASON, GENDER = ATTRIBUTES
GRAY = Image.new("RGB", (1500, 600), "gray")


class Elements(HTMLParser):
    """All start tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def of(self, attribute):
        return [attributes for _, attributes in self.tags if attribute in attributes]


def page_of(photograph=GRAY, file="a shoe.jpg"):
    return Elements(answer_html(FakeClassifier(), file, photograph))


def test_every_shown_class_has_a_map():
    page = page_of()
    buttons, layers = page.of("data-map"), page.of("data-layer")
    assert [b["data-map"] for b in buttons] == [layer["data-layer"] for layer in layers]
    prediction, _ = FakeClassifier().predict_and_map(GRAY, 1)
    expected = [(name, label) for name, p in prediction.attributes.items() for label, _ in shown(p)]
    assert [(b["data-attribute"], b["data-label"]) for b in buttons] == expected
    assert [layer["data-layer"] for layer in layers if "hidden" not in layer] == ["product_type-0"]
    assert [b["data-map"] for b in buttons if b["aria-pressed"] == "true"] == ["product_type-0"]


def test_overlay_is_small_and_like_the_librarys():
    def image_in(url):
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))

    page = page_of()
    (base,) = [a for tag, a in page.tags if tag == "img" and a.get("class") == "base"]
    gray, layer = image_in(base["src"]).convert("RGB"), image_in(page.of("data-layer")[0]["src"])
    assert gray.size == (BACKDROP_SIDE, 400)
    assert layer.size == (MAP_SIDE, 64)
    drawn = gray.copy()
    layer = layer.convert("RGBA").resize(gray.size, Image.Resampling.BILINEAR)
    drawn.paste(layer.convert("RGB"), mask=layer.getchannel("A").point([round(0.7 * v) for v in range(256)]))
    classifier = FakeClassifier()
    _, maps = classifier.predict_and_map(GRAY, 1)
    heat = classifier.config.preprocessing.map_on_photograph(maps["color"][0], gray.size)
    expected = overlay(backdrop(GRAY.resize(gray.size)), heat, 0.7)
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(expected).astype(int)).mean() < 6


@pytest.mark.parametrize("file", ["a shoe.jpg", '"><script>alert(1)</script>'])
def test_answer_carries_document_and_code(file):
    (root,) = page_of(file=file).of("data-result")
    prediction, _ = FakeClassifier().predict_and_map(GRAY, 1)
    assert json.loads(root["data-result"]) == document_of(file, FakeClassifier(), prediction)
    assert json.dumps(file) in root["data-python"]
    if file == "a shoe.jpg":
        assert root["data-curl"] == "curl -F 'file=@\"a shoe.jpg\"' ADDRESS/predict"
    assert "<script" not in answer_html(FakeClassifier(), file, GRAY) + error_html(file)


def test_doubt_shows_in_cards_and_shares():
    page = page_of()
    cards = [a["class"] for tag, a in page.tags if tag == "section"]
    assert cards == ["card", "card", "card doubtful", "card doubtful"]
    assert "almost certain, 96 %" in page.text  # and 3 % is no runner-up
    assert "unsure, 50 %" in page.text
    assert "41 %" in page.text
    assert "Fashion score 1.2. A photograph counts as one of a fashion product from 0.5." in page.text


def test_no_fashion_product_is_muted():
    page = page_of(Image.new("RGB", (60, 80)))
    assert NOT_FASHION in page.text
    assert "muted" in page.tags[0][1]["class"]


def predicted(label, confidence):
    return AttributePrediction((label, "Other"), np.array([confidence, 1 - confidence], np.float32))


def prediction(type=0.95, gender=("Men", 0.9), is_fashion=True):
    types = np.array([type, *[(1 - type) / 4] * 4], np.float32)
    attributes = {
        "color": predicted("Navy Blue", 0.8),
        "product_type": AttributePrediction(("Formal Shoes", *"abcd"), types),
        "gender": predicted(*gender),
        "season": predicted("Fall", 0.99),
    }
    return Prediction(attributes, 1.0 if is_fashion else -1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Navy blue formal shoes for men. Season: a guess."),
        ({"gender": ("Unisex", 0.9)}, "Navy blue formal shoes for anyone. Season: a guess."),
        ({"gender": ("Women", 0.6)}, "Navy blue formal shoes for women (unsure). Season: a guess."),
        ({"type": 0.6}, "Looks like navy blue formal shoes for men. Season: a guess."),
        ({"type": 0.3}, f"Hard to tell; perhaps navy blue formal shoes for men. {ADVICE}"),
        ({"is_fashion": False}, NOT_FASHION),
    ],
)
def test_sentence_says_what_and_how_surely(changes, sentence):
    assert sentence_of(prediction(**changes), (COLOR, PRODUCT_TYPE, GENDER, SEASON)) == sentence


def test_sentence_of_a_single_attribute():
    assert sentence_of(prediction(), [Attribute("color", "color", "Color")]) == "Navy blue."


def test_confidences_in_words_and_percent():
    words = [in_words(p) for p in (0.9, 0.89, 0.7, 0.69, 0.4, 0.1)]
    assert words == ["almost certain", "likely", "likely", "unsure", "unsure", "a guess"]
    assert [percent(p) for p in (0.9999, 0.5, 0.001)] == ["99 %", "50 %", "1 %"]


def test_caption_marks_doubt():
    caption = caption_of(prediction(gender=("Women", 0.6)))
    assert caption == "Navy Blue 80 % · Formal Shoes 95 % · Women 60 %? · Fall 99 %?"
    assert caption_of(prediction(is_fashion=False)) == "No fashion product?"
