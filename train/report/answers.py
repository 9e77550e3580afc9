"""What a checkpoint answered for each row, one table an attribute. All other parts of the report start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fashion_model.attributes import ATTRIBUTES, Attribute
from train.evaluation import Evaluation, classes, probabilities_of


@dataclass(frozen=True)
class AttributeAnswers:
    """One attribute of N photographs."""

    attribute: Attribute
    labels: tuple[str, ...]  # of the network, by class index
    probabilities: np.ndarray  # (N, classes)
    rows: pd.DataFrame  # id, group, name, label, answer, confidence, label_probability; N rows, index as in the table

    @property
    def right(self) -> pd.Series:
        """(N,) bool."""
        return self.rows["label"] == self.rows["answer"]


def answers_of(evaluation: Evaluation, rows: pd.DataFrame, pooled: torch.Tensor) -> dict[str, AttributeAnswers]:
    """Attribute → the answers for `rows`, whose pooled features are (N, C)."""
    probabilities, targets = probabilities_of(evaluation.model, pooled), evaluation.targets(rows).numpy()
    return {
        attribute.name: _answers(
            attribute,
            evaluation.checkpoint.encoders.labels[attribute.name],
            probabilities[attribute.name],
            rows,
            targets[:, i],
        )
        for i, attribute in enumerate(ATTRIBUTES)
    }


def classes_of(answers: Mapping[str, AttributeAnswers]) -> dict[str, np.ndarray]:
    """What `answers_of` gives → attribute → the most probable class (N,)."""
    return classes({name: of_attribute.probabilities for name, of_attribute in answers.items()})


def _answers(
    attribute: Attribute, labels: tuple[str, ...], probabilities: np.ndarray, rows: pd.DataFrame, targets: np.ndarray
) -> AttributeAnswers:
    of_label = np.where(targets >= 0, probabilities[np.arange(len(rows)), targets], 0)  # 0 for an unknown label
    frame = pd.DataFrame(
        {
            "id": rows["id"],
            "group": rows["group"],
            "name": rows["productDisplayName"],
            "label": rows[attribute.column],
            "answer": np.array(labels, dtype=object)[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
            "label_probability": of_label,
        }
    )
    return AttributeAnswers(attribute, labels, probabilities, frame)
