"""What the page and every client say of one photograph: the result as JSON, in words, and the sentence above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fashion_model.attributes import Attribute
from fashion_model.predictions import AttributePrediction, Prediction

MAIN_ATTRIBUTE = "product_type"  # its confidence decides whether the page says that it is unsure
HINTS = {"season": "a photograph does not show it"}  # attributes that are hints at best, and why
TOP_CLASSES = 5  # in a result
SHOWN_CLASSES, MIN_SHOWN = 3, 0.05  # of an attribute on the page; the least probability of a runner-up
# Least confidence, and what it is called.
WORDS = ((0.9, "almost certain"), (0.7, "likely"), (0.4, "unsure"), (0.0, "a guess"))
SURE, MIN_CONFIDENCE = 0.7, 0.4

ADVICE = "One product that fills the picture, on a plain ground, works best."
NOT_FASHION = f"This does not look like a fashion product. {ADVICE}"


@dataclass(frozen=True)
class Result:
    """A prediction, for the photograph `file`, by the checkpoint `model`."""

    file: str
    model: str
    prediction: Prediction
    attributes: Sequence[Attribute]

    def to_dict(self, classes: int = TOP_CLASSES) -> dict[str, Any]:
        """The JSON document; `classes` labels of each attribute, all for 0."""
        return {
            "file": self.file,
            "model": self.model,
            "is_fashion": self.prediction.is_fashion,
            "sentence": self.sentence,
            **{a.name: label_value(self.prediction[a.name], classes) for a in self.attributes},
        }

    @property
    def sentence(self) -> str:
        """Plain English: what the network sees, and how far it can be trusted."""
        if not self.prediction.is_fashion:
            return NOT_FASHION
        names = [a.name for a in self.attributes]
        main = main_attribute(names)
        parts = [described(name, self.prediction[name]) for name in ("color", main, "gender") if name in names]
        text = " ".join(dict.fromkeys(parts))
        hints = [f" {a.title.split()[0]}: a guess." for a in self.attributes if a.name in HINTS]
        if self.prediction[main].confidence < MIN_CONFIDENCE:
            return f"Hard to tell; perhaps {text}. {ADVICE}"
        start = "Looks like" if self.prediction[main].confidence < SURE else ""
        text = f"{start} {text}".strip()
        return f"{text[0].upper()}{text[1:]}.{''.join(hints)}"


def main_attribute(names: Sequence[str]) -> str:
    """The first attribute, where a checkpoint has no MAIN_ATTRIBUTE."""
    return MAIN_ATTRIBUTE if MAIN_ATTRIBUTE in names else names[0]


def label_value(answer: AttributePrediction, classes: int) -> dict[str, Any]:
    """As gr.Label has it: the label, and `classes` labels with their confidences, best first; all for 0."""
    top = answer.top(classes or len(answer.labels))
    return {
        "label": answer.label,
        "confidence": round(answer.confidence, 4),
        "confidences": [{"label": label, "confidence": round(p, 4)} for label, p in top],
    }


def described(name: str, answer: AttributePrediction) -> str:
    """A label within a sentence: `black`, `casual shoes`, `for men`."""
    label = answer.label[0].lower() + answer.label[1:].lower()
    if name == "gender":
        for_whom = "anyone" if label == "unisex" else label
        return f"for {for_whom}" + ("" if answer.confidence >= SURE else " (unsure)")
    return "multicolored" if label == "multi" else label


def in_words(confidence: float) -> str:
    return next(word for least, word in WORDS if confidence >= least)


def is_doubtful(name: str, answer: AttributePrediction) -> bool:
    """Whether the page shows the answer as uncertain."""
    return name in HINTS or answer.confidence < SURE


def shown(answer: AttributePrediction) -> list[tuple[str, float]]:
    """The labels on the page with their probabilities: the predicted one, and runner-ups that matter."""
    first, *others = answer.top(SHOWN_CLASSES)
    return [first, *((label, p) for label, p in others if p >= MIN_SHOWN)]


def percentage(probability: float) -> int:
    """Never 100 or 0, which no prediction is."""
    return min(max(round(100 * probability), 1), 99)


def percent(probability: float) -> str:
    return f"{percentage(probability)} %"


def caption(prediction: Prediction) -> str:
    """Of a thumbnail: the labels with their confidences; a question mark where there is doubt."""
    if not prediction.is_fashion:
        return "No fashion product?"
    return " · ".join(
        f"{answer.label} {percent(answer.confidence)}{'?' if is_doubtful(name, answer) else ''}"
        for name, answer in prediction.attributes.items()
    )
