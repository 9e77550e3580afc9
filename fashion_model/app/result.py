"""A prediction in words: the sentence above it, the words for confidences, and the JSON document of one photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fashion_model.attributes import Attribute
from fashion_model.classifier import FashionClassifier
from fashion_model.predictions import AttributePrediction, Prediction

MAIN_ATTRIBUTE = "product_type"  # its confidence decides whether the page says that it is unsure
HINTS = {"season": "a photograph does not show it"}  # attributes that are hints at best, and why
SHOWN_CLASSES, MIN_SHOWN = 3, 0.05  # of an attribute on the page; the least probability of a runner-up
# Least confidence, and what it is called.
WORDS = ((0.9, "almost certain"), (0.7, "likely"), (0.4, "unsure"), (0.0, "a guess"))
SURE, MIN_CONFIDENCE = 0.7, 0.4

ADVICE = "One product that fills the picture, on a plain ground, works best."
NOT_FASHION = f"This does not look like a fashion product. {ADVICE}"


def document_of(file: str, classifier: FashionClassifier, prediction: Prediction) -> dict[str, Any]:
    """`Prediction.to_document` with the photograph's name, the checkpoint's, and the sentence before it."""
    words = {"file": file, "model": classifier.name, "sentence": sentence_of(prediction, classifier.attributes)}
    return words | prediction.to_document()


def sentence_of(prediction: Prediction, attributes: Sequence[Attribute]) -> str:
    """Plain English: what the network sees, and how far it can be trusted."""
    if not prediction.is_fashion:
        return NOT_FASHION
    names = [a.name for a in attributes]
    main = main_attribute(names)
    parts = [in_sentence(name, prediction[name]) for name in ("color", main, "gender") if name in names]
    text = " ".join(dict.fromkeys(parts))
    confidence = prediction[main].confidence
    if confidence < MIN_CONFIDENCE:
        return f"Hard to tell; perhaps {text}. {ADVICE}"
    hints = "".join(f" {a.title.split()[0]}: a guess." for a in attributes if a.name in HINTS)
    return (f"{text[0].upper()}{text[1:]}." if confidence >= SURE else f"Looks like {text}.") + hints


def main_attribute(names: Sequence[str]) -> str:
    """The first attribute, where a checkpoint has no MAIN_ATTRIBUTE."""
    return MAIN_ATTRIBUTE if MAIN_ATTRIBUTE in names else names[0]


def in_sentence(name: str, prediction: AttributePrediction) -> str:
    """A label within a sentence: `black`, `casual shoes`, `for men`."""
    label = prediction.label[0].lower() + prediction.label[1:].lower()
    if name == "gender":
        for_whom = "anyone" if label == "unisex" else label
        return f"for {for_whom}" + ("" if prediction.confidence >= SURE else " (unsure)")
    return "multicolored" if label == "multi" else label


def in_words(confidence: float) -> str:
    return next(word for least, word in WORDS if confidence >= least)


def is_doubtful(name: str, prediction: AttributePrediction) -> bool:
    """Whether the page shows the label as uncertain."""
    return name in HINTS or prediction.confidence < SURE


def shown(prediction: AttributePrediction) -> list[tuple[str, float]]:
    """The labels on the page with their probabilities: the predicted one, and runners-up that matter."""
    first, *others = prediction.top(SHOWN_CLASSES)
    return [first, *((label, p) for label, p in others if p >= MIN_SHOWN)]


def percentage(probability: float) -> int:
    """From 1 to 99: no prediction is certain."""
    return min(max(round(100 * probability), 1), 99)


def percent(probability: float) -> str:
    return f"{percentage(probability)} %"


def caption_of(prediction: Prediction) -> str:
    """The caption of a thumbnail: the labels with their confidences, and a question mark where there is doubt."""
    if not prediction.is_fashion:
        return "No fashion product?"
    return " · ".join(
        f"{p.label} {percent(p.confidence)}{'?' if is_doubtful(name, p) else ''}"
        for name, p in prediction.attributes.items()
    )
