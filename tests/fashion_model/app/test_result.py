import numpy as np
import pytest

from fashion_model.app.result import ADVICE, NOT_FASHION, caption_of, in_words, is_doubtful, percent, sentence_of, shown
from fashion_model.attributes import Attribute
from fashion_model.predictions import AttributePrediction, Prediction
from tests.conftest import ATTRIBUTES

COLOR, PRODUCT_TYPE, SEASON, GENDER = ATTRIBUTES


def predicted(label, confidence):
    return AttributePrediction((label, "Other"), np.array([confidence, 1 - confidence], np.float32))


def prediction(type=0.95, gender=("Men", 0.9), is_fashion=True):
    attributes = {
        "color": predicted("Navy Blue", 0.8),
        "product_type": AttributePrediction(
            ("Formal Shoes", *"abcd"), np.array([type, *[(1 - type) / 4] * 4], np.float32)
        ),
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
def test_sentence_says_what_is_seen_and_how_surely(changes, sentence):
    assert sentence_of(prediction(**changes), (COLOR, PRODUCT_TYPE, GENDER, SEASON)) == sentence


def test_sentence_of_a_single_attribute():
    assert sentence_of(prediction(), [Attribute("color", "color", "Color")]) == "Navy blue."


def test_confidences_in_words_and_percent():
    words = [in_words(p) for p in (0.95, 0.9, 0.7, 0.69, 0.4, 0.1)]
    assert words == ["almost certain", "almost certain", "likely", "unsure", "unsure", "a guess"]
    assert [percent(p) for p in (0.9999, 0.5, 0.001)] == ["99 %", "50 %", "1 %"]


def test_hint_is_doubtful_at_any_confidence():
    assert is_doubtful("season", predicted("Fall", 0.99))
    assert not is_doubtful("color", predicted("Red", 0.71))
    assert is_doubtful("color", predicted("Red", 0.69))


def test_only_probable_runners_up_are_shown():
    several = AttributePrediction(tuple("abcde"), np.array([0.06, 0.6, 0.04, 0.2, 0.1], np.float32))
    assert [label for label, _ in shown(several)] == ["b", "d", "e"]
    assert [label for label, _ in shown(predicted("Red", 0.97))] == ["Red"]


def test_caption_marks_doubt():
    caption = caption_of(prediction(gender=("Women", 0.6)))
    assert caption == "Navy Blue 80 % · Formal Shoes 95 % · Women 60 %? · Fall 99 %?"
    assert caption_of(prediction(is_fashion=False)) == "No fashion product?"
