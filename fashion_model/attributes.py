"""Attributes and their classes. Which attributes there are is read from the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from torch import nn

from fashion_model.system import read_json, write_json

NAME = re.compile(r"[a-z][a-z0-9_]*")
PRODUCT_TYPE = "product_type"  # the attribute that groups of products and contributors' coarse labels are about
IS_FASHION = "is_fashion"  # can be explained like an attribute
NO, YES = "no", "yes"  # its labels
# What documents, rows, tables, the app's outputs, boxes and the history of a training are made of beside the
# attributes, and members of `Prediction`.
RESERVED = {
    *("file", "path", "checkpoint", "error", "least", "model", "sentence", "notice", "overlay", "fashion", "nll_sum"),
    *(IS_FASHION, "fashion_score", "fashion_threshold", "attributes", "words", "to_document"),
    *("products", "box", "left", "top", "right", "bottom", "group", "score"),
    *("id", "split", "image", "label", "domain"),
}


@dataclass(frozen=True)
class Attribute:
    name: str  # in Python, on the command line, in the weights
    column: str  # in the training table and in label_encoders.json
    title: str  # on the page and in tables

    def __post_init__(self) -> None:
        for value in (self.name, self.column, self.title):
            if not isinstance(value, str) or not value:
                raise ValueError(f"an attribute needs a name, a column and a title; it has {shortened(self)}")
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"an attribute's name is lower-case letters, digits and underscores, not {shortened(self.name)}"
            )
        if self.name in RESERVED or self.name.endswith("_confidence"):
            raise ValueError(f"{self.name!r} is a field of predictions or tables and cannot be an attribute's name")
        if hasattr(nn.ModuleDict(), self.name):
            raise ValueError(f"{self.name!r} is reserved by PyTorch and cannot be an attribute's name")


@dataclass(frozen=True)
class LabelWords:
    """How sentences name what labels stand for. A label that has no words stands for itself."""

    singular: Mapping[str, str] = field(default_factory=dict)  # the name of one product: Tshirts → T-shirt
    plural: Mapping[str, str] = field(default_factory=dict)  # without an article: Sandals → sandals
    about: Mapping[str, str] = field(default_factory=dict)  # what it is, for those who do not know the label

    def name_of(self, label: str) -> str:
        """The name of one product, within a sentence."""
        return self.singular.get(label) or self.plural.get(label) or label

    def with_article(self, label: str, words: str) -> str:
        """`words` for a product of this label, with an article if it is a single one."""
        return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}" if label in self.singular else words

    def of(self, labels: Collection[str]) -> LabelWords:
        """Those of `labels` only."""
        tables = ({k: text for k, text in table.items() if k in labels} for table in asdict(self).values())
        return LabelWords(*tables)

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> LabelWords:
        """ValueError unless the file has texts of `singular`, `plural` and `about`."""
        document = read_json(path)
        tables: list[Any] = [document.get(kind.name) for kind in fields(cls)]
        if len(document) > len(tables) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("must have the objects singular, plural and about")
        if not all(isinstance(text, str) and text for table in tables for text in table.values()):
            raise ValueError("has words that are no text")
        return cls(*tables)


NO_WORDS = LabelWords()


@dataclass(frozen=True)
class LabelEncoders:
    """The labels of each attribute, by its name; a label's position is the index of its logit."""

    labels: Mapping[str, tuple[str, ...]]
    words: LabelWords = NO_WORDS

    @property
    def num_classes(self) -> dict[str, int]:
        return {name: len(labels) for name, labels in self.labels.items()}

    def target(self, attribute: str, label: str | None = None) -> tuple[str, int | None]:
        """The attribute, or `is_fashion`, and the index of the label's logit; None for the predicted label.

        ValueError for an unknown attribute or label.
        """
        labels = {**self.labels, IS_FASHION: (NO, YES)}
        if attribute not in labels:
            raise ValueError(f"unknown attribute {attribute!r}; the attributes are {', '.join(self.labels)}")
        if label is None:
            return attribute, None
        if label not in labels[attribute]:
            raise ValueError(f"unknown label {label!r} for {attribute}")
        return attribute, labels[attribute].index(label)

    def save(self, path: Path, attributes: Sequence[Attribute]) -> None:
        """Write `{column: {"0": label, …}}`."""
        write_json(path, {a.column: {str(i): label for i, label in enumerate(self.labels[a.name])} for a in attributes})

    @classmethod
    def load(cls, path: Path, attributes: Sequence[Attribute]) -> LabelEncoders:
        """ValueError unless the file has exactly the columns of `attributes`, with the indices 0 … n-1 each."""
        document = read_json(path)
        unknown = set(document) - {a.column for a in attributes}
        if unknown:
            raise ValueError(f"has columns of no attribute: {shortened(sorted(unknown))}")
        labels: dict[str, tuple[str, ...]] = {}
        for attribute in attributes:
            classes = document.get(attribute.column)
            texts: list[Any] = [classes.get(str(i)) for i in range(len(classes))] if isinstance(classes, dict) else []
            if not texts or not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
                raise ValueError(f"must number distinct labels of {attribute.column!r} from 0")
            labels[attribute.name] = tuple(texts)
        return cls(labels)
