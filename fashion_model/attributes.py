"""The four attributes and the label encoders: which classes each one has and in which order the network counts them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attribute:
    name: str  # in Python, on the command line, in the weights
    column: str  # in styles.csv and label_encoders.json
    title: str  # on the page


ATTRIBUTES = (
    Attribute("color", "baseColour", "Color"),
    Attribute("product_type", "articleType", "Product type"),
    Attribute("season", "season", "Season of use"),
    Attribute("gender", "gender", "Target gender"),
)
NAMES = tuple(attribute.name for attribute in ATTRIBUTES)


def attribute_named(name: str) -> Attribute:
    """The attribute called `name`; ValueError names those there are."""
    for attribute in ATTRIBUTES:
        if attribute.name == name:
            return attribute
    raise ValueError(f"unknown attribute {name!r}; the attributes are {', '.join(NAMES)}")


@dataclass(frozen=True)
class LabelEncoders:
    """For each attribute name its labels; a label's position is the index of its logit."""

    labels: Mapping[str, tuple[str, ...]]

    @classmethod
    def fit(cls, columns: Mapping[str, Iterable[str]]) -> LabelEncoders:
        """`columns`: label column of styles.csv → labels, repeated or not. The order is alphabetical."""
        return cls({a.name: tuple(sorted(set(columns[a.column]))) for a in ATTRIBUTES})

    @property
    def num_classes(self) -> dict[str, int]:
        return {name: len(labels) for name, labels in self.labels.items()}

    def save(self, path: Path) -> None:
        document = {a.column: {str(i): label for i, label in enumerate(self.labels[a.name])} for a in ATTRIBUTES}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> LabelEncoders:
        """ValueError if a column is missing or its indices are not 0 … n-1, each once with a label of its own."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls({a.name: _labels_in_order(document, a.column) for a in ATTRIBUTES})


def _labels_in_order(document: object, column: str) -> tuple[str, ...]:
    classes = document.get(column) if isinstance(document, dict) else None
    if not isinstance(classes, dict) or not classes:
        raise ValueError(f"has no classes for {column!r}")
    if set(classes) != {str(i) for i in range(len(classes))}:
        raise ValueError(f"the classes of {column!r} are not numbered 0 to {len(classes) - 1}")
    labels = tuple(classes[str(i)] for i in range(len(classes)))
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
        raise ValueError(f"the labels of {column!r} are not distinct texts")
    return labels
