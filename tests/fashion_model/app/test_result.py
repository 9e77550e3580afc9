import numpy as np
import pytest

from fashion_model.app.result import (
    ADVICE,
    NOT_FASHION,
    Result,
    caption,
    in_words,
    is_doubtful,
    percent,
    shown,
)
from fashion_model.attributes import Attribute
from fashion_model.predictions import AttributePrediction, Prediction

ATTRIBUTES = [
    Attribute(name, name, name.replace("_", " ").capitalize()) for name in ("color", "product_type", "gender")
]
SEASON = Attribute("season", "season", "Season of use")


def answer(label, confidence):
    return AttributePrediction((label, "Other"), np.array([confidence, 1 - confidence], np.float32))


def result(*, type_confidence=0.95, gender=("Men", 0.9), is_fashion=True, attributes=(*ATTRIBUTES, SEASON)):
    answers = {
        "color": answer("Navy Blue", 0.8),
        "product_type": AttributePrediction(
            ("Formal Shoes", *"abcd"), np.array([type_confidence, *[(1 - type_confidence) / 4] * 4], np.float32)
        ),
        "season": answer("Fall", 0.99),
        "gender": answer(*gender),
    }
    names = [a.name for a in attributes]
    prediction = Prediction({n: answers[n] for n in names}, 0.0, 0.0 if is_fashion else 1.0)
    return Result("shoe.jpg", "tiny", prediction, attributes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Navy blue formal shoes for men. Season: a guess."),
        ({"gender": ("Unisex", 0.9)}, "Navy blue formal shoes for anyone. Season: a guess."),
        ({"gender": ("Women", 0.6)}, "Navy blue formal shoes for women (unsure). Season: a guess."),
        ({"type_confidence": 0.6}, "Looks like navy blue formal shoes for men. Season: a guess."),
        ({"type_confidence": 0.3}, f"Hard to tell; perhaps navy blue formal shoes for men. {ADVICE}"),
        ({"is_fashion": False}, NOT_FASHION),
        ({"attributes": ATTRIBUTES[:1]}, "Navy blue."),
    ],
)
def test_the_sentence_says_what_is_seen_and_how_sure_it_is(changes, sentence):
    assert result(**changes).sentence == sentence


def test_the_document_has_the_best_classes_of_each_attribute():
    document = result().to_dict(classes=2)
    assert list(document) == ["file", "model", "is_fashion", "sentence", "color", "product_type", "gender", "season"]
    assert document["product_type"] == {
        "label": "Formal Shoes",
        "confidence": 0.95,
        "confidences": [{"label": "Formal Shoes", "confidence": 0.95}, {"label": "a", "confidence": 0.0125}],
    }
    assert len(result().to_dict(classes=0)["product_type"]["confidences"]) == 5


def test_confidences_in_words_and_per_cent():
    words = [in_words(p) for p in (0.95, 0.9, 0.7, 0.69, 0.4, 0.1)]
    assert words == ["almost certain", "almost certain", "likely", "unsure", "unsure", "a guess"]
    assert [percent(p) for p in (0.9999, 0.5, 0.001)] == ["99 %", "50 %", "1 %"]


def test_a_hint_is_doubtful_however_confident_the_network_is():
    assert is_doubtful("season", answer("Fall", 0.99))
    assert not is_doubtful("color", answer("Red", 0.71))
    assert is_doubtful("color", answer("Red", 0.69))


def test_only_runners_up_that_matter_are_shown():
    found = AttributePrediction(tuple("abcde"), np.array([0.06, 0.6, 0.04, 0.2, 0.1], np.float32))
    assert [label for label, _ in shown(found)] == ["b", "d", "e"]
    assert [label for label, _ in shown(answer("Red", 0.97))] == ["Red"]


def test_a_caption_marks_doubt():
    assert caption(result(gender=("Women", 0.6)).prediction) == (
        "Navy Blue 80 % · Formal Shoes 95 % · Women 60 %? · Fall 99 %?"
    )
    assert caption(result(is_fashion=False).prediction) == "No fashion product?"
