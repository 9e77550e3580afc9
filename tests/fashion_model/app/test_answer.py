"""What the page says of a photograph and of its checkpoint, without a browser."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fashion_model import FashionClassifier
from fashion_model.app import answer, quality, sentences
from fashion_model.app.sentences import ADVICE, NOT_FASHION
from fashion_model.attributes import LabelWords
from fashion_model.checkpoint import CLASSES, DEFAULT_CHECKPOINT, LABEL_WORDS, METRICS
from fashion_model.predictions import AttributePrediction, Prediction, Product
from tests.conftest import ROOT
from tests.fashion_model.app.conftest import SHOES

WORDS = LabelWords.load(DEFAULT_CHECKPOINT / LABEL_WORDS)


def predicted(label, confidence):
    return AttributePrediction((label, "Other"), np.array([confidence, 1 - confidence], np.float32))


def prediction(type=0.95, gender=("Men", 0.9), color=("Navy Blue", 0.8), label="Formal Shoes", is_fashion=True):
    types = np.array([type, *[(1 - type) / 4] * 4], np.float32)
    attributes = {
        "color": predicted(*color),
        "product_type": AttributePrediction((label, *"abcd"), types),
        "gender": predicted(*gender),
        "season": predicted("Fall", 0.99),
    }
    return Prediction(attributes, 1.0 if is_fashion else -1.0, 0.0, WORDS)


NAVY = "navy blue formal shoes"
HARD = f"Hard to tell; perhaps {NAVY}, for men. {ADVICE}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"N{NAVY[1:]}, for men."),
        ({"gender": ("Unisex", 0.9)}, f"N{NAVY[1:]}, for anyone."),
        ({"gender": ("Women", 0.6)}, f"N{NAVY[1:]}, perhaps for women."),
        ({"color": ("Navy Blue", 0.6)}, "Navy blue, perhaps other, formal shoes, for men."),
        ({"type": 0.6}, f"Looks like {NAVY}, for men."),
        ({"type": 0.3}, HARD),
        ({"label": "Tshirts"}, "A navy blue T-shirt, for men."),
        ({"label": "Umbrellas", "color": ("Orange", 0.9)}, "An orange umbrella, for men."),
        ({"type": 0.3, "color": ("Navy Blue", 0.6), "gender": ("Men", 0.6)}, HARD),
        ({"is_fashion": False, "label": "Caps", "type": 0.89}, f"{NOT_FASHION} {ADVICE}"),
        ({"is_fashion": False, "label": "Caps"}, "Perhaps not a fashion product; if it is, a cap."),
        ({"is_fashion": False}, "Perhaps not a fashion product; if it is, formal shoes."),
    ],
)
def test_sentence_says_what_and_how_surely(changes, sentence):
    assert sentences.sentence_of(prediction(**changes)) == sentence


def test_sentence_of_several_products():
    kinds = [("Jackets", "Black", "Women"), ("Skirts", "Pink", "Women"), ("Booties", "Brown", "Women")]
    products = [
        Product((0, 0, 9, 9), "", 1.0, prediction(label=label, color=(color, 0.9), gender=(gender, 0.9)))
        for label, color, gender in kinds
    ]
    of = sentences.sentence_of_products
    assert of(products) == "A black jacket, a pink skirt and brown booties, for women."
    unsure = Product((0, 0, 9, 9), "", 1.0, prediction(type=0.5, label="Scarves", gender=("Men", 0.9)))
    assert of([products[0], unsure]) == "A black jacket and perhaps a navy blue scarf."
    assert of([]) == f"{NOT_FASHION} {ADVICE}"


def test_advice_is_for_a_photograph_of_one_product(classifier):
    unsure = Product((0, 0, 9, 9), "", 1.0, prediction(type=0.3))
    for count in (1, 2):
        document = answer.products_document("x.jpg", classifier, [unsure] * count)
        assert [ADVICE in product["sentence"] for product in document["products"]] == [count == 1] * count


def test_captions_have_figures():
    assert [sentences.percentage(p) for p in (0.9999, 0.5, 0.001)] == [99, 50, 1]
    caption = sentences.caption_of(prediction(gender=("Women", 0.6)))
    assert caption == "Navy Blue 80 % · Formal Shoes 95 % · Women 60 %"
    assert sentences.caption_of(prediction(is_fashion=False)) == "No fashion product?"


def test_name_of_a_file_cannot_become_html(tiny_classifier):
    html = answer.answer_html(tiny_classifier, '"><script>alert(1)</script>', SHOES)
    assert "alert(1)" in html
    assert "<script" not in html


def test_map_like_the_best_labels_is_not_offered():
    best = np.random.default_rng(0).random((7, 7))
    assert answer.differ(best, best[::-1])
    assert not answer.differ(best, 0.3 * best + 0.1)
    assert not answer.differ(best, np.zeros((7, 7)))
    assert answer.differ(np.zeros((7, 7)), best)


def test_figures_are_those_of_the_readme(classifier):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [re.split(r" *\| *", line)[1:-1] for line in readme.splitlines() if re.match(r"\|.*(\d \(\d|, %)", line)]
    accuracy, note, found = quality.measured(classifier)
    assert [*accuracy, *found] == tables
    assert len(tables) == 11
    assert note in readme
    html = quality.in_words(classifier)
    assert f"<td>{accuracy[1][2]}</td>" in html
    assert "The season of use follows" in html


def test_table_has_a_row_for_each_class(classifier):
    document = quality.read_file(classifier, CLASSES)
    rows = quality.class_rows(classifier)
    assert len(rows) == sum(len(attribute["classes"]) for attribute in document["attributes"].values())
    figures = document["attributes"]["product_type"]["classes"]["Kurtas"]
    (kurtas,) = [row for row in rows if row[0] == "Kurtas"]
    assert kurtas[1:5] == [
        "Product type",
        figures["images"],
        *(round(100 * figures[n]) for n in ("recall", "precision")),
    ]


def test_measurements_of_another_shape_are_left_out(tiny_checkpoint):
    """They come with a checkpoint from anyone."""
    classifier = FashionClassifier.from_pretrained(tiny_checkpoint)
    (tiny_checkpoint / CLASSES).parent.mkdir()
    of_red = '{"attributes": {"color": {"title": "Color", "classes": {"Red": {"images": %s}}}}}'
    measured = '{"splits": {"test": {"domains": {"phone": {"images": "<b>"}}}}}'
    deep = "[" * 100_000
    for content in ("{", "[]", '{"splits": []}', measured, deep, of_red % '"<b>"', of_red % "Infinity"):
        (tiny_checkpoint / METRICS).write_text(content)
        (tiny_checkpoint / CLASSES).write_text(content)
        html = quality.in_words(classifier)
        assert "Nothing was measured" in html, content
        assert "search-classes" not in html, content


def test_checkpoint_without_season_has_no_word_of_it(classifier, monkeypatch):
    labels = {name: labels for name, labels in classifier.encoders.labels.items() if name != "season"}
    monkeypatch.setattr(classifier, "encoders", replace(classifier.encoders, labels=labels))
    assert "season of use follows" not in quality.in_words(classifier)
