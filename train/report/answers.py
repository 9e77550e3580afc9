"""The predictions for the catalogue's thumbnails as one table an attribute, from which the report starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fashion_model.attributes import Attribute
from train.data.domains import THUMBNAILS
from train.data.table import NAME
from train.evaluate.predictions import SplitPredictions


@dataclass(frozen=True)
class AttributeAnswers:
    """Of N labeled images. The network may not know a label; its probability is 0 then."""

    attribute: Attribute
    labels: tuple[str, ...]  # of the network, by class index
    rows: pd.DataFrame  # id, group, name, label, answer, confidence, label_probability; index of the cleaned table

    @property
    def right(self) -> pd.Series:
        """(N,) bool."""
        return self.rows["label"] == self.rows["answer"]


def answers_of(predictions: SplitPredictions, table: pd.DataFrame) -> list[AttributeAnswers]:
    """One an attribute, in the checkpoint's order. `table`: the cleaned table."""
    domain = predictions.domains[THUMBNAILS]
    rows = table.reset_index().set_index("id").loc[domain.products].reset_index().set_index("index")
    probabilities = domain.probabilities(predictions.config.temperatures)
    found = []
    for attribute in predictions.attributes:
        accepted, p = domain.accepted[attribute.name], probabilities[attribute.name]
        labels = predictions.encoders.labels[attribute.name]
        target = accepted.argmax(axis=1)
        frame = pd.DataFrame(
            {
                "id": rows["id"],
                "group": rows["group"],
                "name": rows[NAME],
                "label": rows[attribute.column],
                "answer": np.array(labels, dtype=object)[p.argmax(axis=1)],
                "confidence": p.max(axis=1),
                "label_probability": np.where(accepted.any(axis=1), p[np.arange(len(p)), target], 0),
            }
        )
        found.append(AttributeAnswers(attribute, labels, frame[rows[attribute.column] != ""]))
    return found
