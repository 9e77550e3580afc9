"""What the network predicts for a photograph, and the one document that rows, files, API and page are derived from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fashion_model.attributes import IS_FASHION, NO_WORDS, LabelWords

DIGITS = 4  # of a confidence and of the fashion score in documents and rows
TOP = 5  # labels of each attribute in a document
FASHION_FIELDS = (IS_FASHION, "fashion_score", "fashion_threshold")  # of a document, after the attributes


@dataclass(frozen=True, eq=False)
class AttributePrediction:
    """The probability of each label of one attribute; they sum to 1."""

    labels: tuple[str, ...]
    probabilities: np.ndarray  # (classes,) float32

    @property
    def label(self) -> str:
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable labels with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[i], float(self.probabilities[i])) for i in best]

    def to_document(self, top: int = TOP) -> dict[str, Any]:
        """The label, its confidence, and the `top` most probable labels with their confidences, best first; 0: all."""
        best = self.top(top or len(self.labels))
        return {
            "label": self.label,
            "confidence": round(self.confidence, DIGITS),
            "top": [[label, round(probability, DIGITS)] for label, probability in best],
        }


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for each attribute of the checkpoint: `prediction.color`, or `prediction["color"]`.

    If `is_fashion` is False, the photograph does not look like a fashion product and the predictions mean little.
    """

    attributes: Mapping[str, AttributePrediction]  # by name, in the order of the checkpoint
    fashion_score: float  # log odds that the photograph shows a fashion product
    fashion_threshold: float  # the checkpoint's; a lower score is no fashion product
    words: LabelWords = NO_WORDS  # the checkpoint's

    @property
    def is_fashion(self) -> bool:
        return self.fashion_score >= self.fashion_threshold

    def to_document(self, top: int = TOP) -> dict[str, Any]:
        """A JSON object: that of each attribute in order, then is_fashion, fashion_score and fashion_threshold.

        `top` as in `AttributePrediction.to_document`.
        """
        scores = round(self.fashion_score, DIGITS), round(self.fashion_threshold, DIGITS)
        fashion = dict(zip(FASHION_FIELDS, (self.is_fashion, *scores), strict=True))
        return {name: prediction.to_document(top) for name, prediction in self.attributes.items()} | fashion

    def __getitem__(self, name: str) -> AttributePrediction:
        """KeyError for an attribute that the checkpoint does not have."""
        return self.attributes[name]

    def __getattr__(self, name: str) -> AttributePrediction:
        attributes = self.__dict__.get("attributes", {})  # empty while it is unpickled
        if name in attributes:
            return attributes[name]
        raise AttributeError(f"no attribute {name!r}; there are {', '.join(attributes)}")


@dataclass(frozen=True, eq=False)
class Product:
    """A product that was found in a photograph."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the upright photograph
    group: str  # such as footwear
    score: float  # how sure the finder is of the box and its group, from 0 to 1
    prediction: Prediction  # of what is in the box; of the whole photograph if there is no other product

    def to_document(self, top: int = TOP) -> dict[str, Any]:
        """A JSON object: box, group and score, then that of the prediction."""
        found = {"box": list(self.box), "group": self.group, "score": round(self.score, DIGITS)}
        return found | self.prediction.to_document(top)
