"""What the network predicts for a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


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


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for each attribute of the checkpoint: `prediction.color`, or `prediction["color"]`.

    If `is_fashion` is False, the photograph does not look like a fashion product and the predictions mean little.
    """

    attributes: Mapping[str, AttributePrediction]  # by name
    fashion_score: float  # log odds that the photograph shows a fashion product
    is_fashion: bool  # whether the score reaches the checkpoint's threshold

    def __getitem__(self, name: str) -> AttributePrediction:
        """KeyError for an attribute that the checkpoint does not have."""
        return self.attributes[name]

    def __getattr__(self, name: str) -> AttributePrediction:
        attributes = self.__dict__.get("attributes", {})  # empty while it is unpickled
        if name in attributes:
            return attributes[name]
        raise AttributeError(f"no attribute {name!r}; there are {', '.join(attributes)}")
