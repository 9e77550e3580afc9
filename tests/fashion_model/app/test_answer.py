import base64
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fashion_model.app.answer import BACKDROP_SIDE, MAP_SIDE, Answer, error_html
from fashion_model.app.handlers import answer_for
from fashion_model.app.result import NOT_FASHION, document_of, shown
from fashion_model.explain import backdrop, overlay
from tests.fashion_model.app.conftest import FakeClassifier


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
        return [found for _, found in self.tags if attribute in found]


def image_in(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.fixture
def answer() -> Answer:
    return answer_for(FakeClassifier(), "a shoe.jpg", Image.new("RGB", (1500, 600), "gray"))


def test_every_shown_class_has_a_map(answer):
    page = Elements(answer.to_html())
    buttons, layers = page.of("data-map"), page.of("data-layer")
    assert [b["data-map"] for b in buttons] == [layer["data-layer"] for layer in layers]
    expected = [(n, label) for n, p in answer.prediction.attributes.items() for label, _ in shown(p)]
    assert [(b["data-attribute"], b["data-label"]) for b in buttons] == expected
    assert [layer["data-layer"] for layer in layers if "hidden" not in layer] == ["product_type-0"]
    assert [b["data-map"] for b in buttons if b["aria-pressed"] == "true"] == ["product_type-0"]


def test_overlay_is_small_and_like_the_librarys(answer):
    page = Elements(answer.to_html())
    (base,) = [a for tag, a in page.tags if tag == "img" and a.get("class") == "base"]
    gray, layer = image_in(base["src"]).convert("RGB"), image_in(page.of("data-layer")[0]["src"])
    assert gray.size == (BACKDROP_SIDE, 400)
    assert layer.size == (MAP_SIDE, 64)
    drawn = gray.copy()
    layer = layer.convert("RGBA").resize(gray.size, Image.Resampling.BILINEAR)
    drawn.paste(layer.convert("RGB"), mask=layer.getchannel("A").point([round(0.7 * v) for v in range(256)]))
    heat = answer.classifier.config.preprocessing.map_on_photograph(answer.maps["color"][0], gray.size)
    expected = overlay(backdrop(Image.new("RGB", gray.size, "gray")), heat, 0.7)
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(expected).astype(int)).mean() < 6


def test_answer_carries_the_document_and_the_code(answer):
    (root,) = Elements(answer.to_html()).of("data-result")
    document = document_of("a shoe.jpg", answer.classifier, answer.prediction)
    assert json.loads(root["data-result"]) == document
    assert '"a shoe.jpg"' in root["data-python"]
    assert root["data-curl"].startswith("curl -F 'file=@\"a shoe.jpg\"' ADDRESS/predict")


def test_file_name_is_escaped(answer):
    wicked = '"><script>alert(1)</script>'
    answer = replace(answer, file=wicked)
    assert "<script" not in answer.to_html()
    assert "<script" not in error_html(wicked)
    assert json.loads(Elements(answer.to_html()).of("data-result")[0]["data-result"])["file"] == wicked


def test_details_have_score_and_threshold(answer):
    text = Elements(answer.to_html()).text
    assert "Fashion score 1.2. A photograph counts as one of a fashion product from 0.5." in text


def test_doubt_shows_in_cards_and_shares(answer):
    page = Elements(answer.to_html())
    cards = [a["class"] for tag, a in page.tags if tag == "section"]
    assert cards == ["card", "card", "card doubtful", "card doubtful"]
    assert "almost certain, 96 %" in page.text  # and 3 % is no runner-up
    assert "unsure, 50 %" in page.text
    assert "41 %" in page.text


def test_no_fashion_product_is_muted():
    page = Elements(answer_for(FakeClassifier(), "x.jpg", Image.new("RGB", (60, 80))).to_html())
    assert NOT_FASHION in page.text
    assert "muted" in page.tags[0][1]["class"]
