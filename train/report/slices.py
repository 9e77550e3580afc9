"""Accuracy on subsets of the images, each with its size and a 95 % interval, because small ones mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from data_prep.photographs import HIGH_RESOLUTION, ON_MODEL
from data_prep.splits import TRAIN
from fashion_model.attributes import Attribute
from train.data.domains import PHONE, THUMBNAILS
from train.evaluate.domains import PASTED
from train.evaluate.metrics import share_interval
from train.evaluate.predictions import SplitPredictions

ALL, DOMAIN = "all", "domain"
DOMAINS = {
    PHONE: "phone photographs",
    ON_MODEL: "studio photographs",
    PASTED: "accessories pasted on other backgrounds",
    HIGH_RESOLUTION: "high-resolution catalogue photographs",
}
FREQUENCIES = {"below 20": 20, "20–99": 100, "100–499": 500, "500 and more": np.inf}  # training rows: below the value
MIN_IMAGES = 30  # of a slice that may be called the weakest
MANY_CLASSES = 20  # attributes with at least so many classes have slices by the frequency of the label
GROUPED_BY = (("gender", "season"), ("year",))  # columns of the cleaned table


def accuracy_by_slice(predictions: SplitPredictions, table: pd.DataFrame) -> pd.DataFrame:
    """Columns kind, slice, images, and for each attribute count, accuracy, low and high, as `color_accuracy`."""
    thumbnails = predictions.domains[THUMBNAILS]
    rows = table.set_index("id").loc[thumbnails.products].reset_index()
    correct = correct_by_attribute(predictions, THUMBNAILS)
    parts = [accuracies(ALL, "catalogue thumbnails", correct)]
    parts += [
        accuracies(DOMAIN, title, correct_by_attribute(predictions, name))
        for name, title in DOMAINS.items()
        if name in predictions.domains
    ]
    for kind, names in _slices(rows, table, predictions.attributes).items():
        used = names.cat.remove_unused_categories().cat.categories
        parts += [accuracies(kind, name, correct[(names == name).to_numpy()]) for name in used]
    return pd.DataFrame(parts)


def correct_by_attribute(predictions: SplitPredictions, domain: str) -> pd.DataFrame:
    """(N, attributes): 1.0 where the prediction is accepted, 0.0 where it is not, NaN where the label is unknown."""
    found, columns = predictions.domains[domain], {}
    for name, predicted in found.predicted.items():
        accepted = found.accepted[name]
        right = accepted[np.arange(len(predicted)), predicted].astype(float)
        columns[name] = np.where(accepted.any(axis=1), right, np.nan)
    return pd.DataFrame(columns)


def accuracies(kind: str, name: str, correct: pd.DataFrame) -> dict[str, str | int | float]:
    """One row of `accuracy_by_slice`; NaN for attributes without known labels."""
    row: dict[str, str | int | float] = {"kind": kind, "slice": name, "images": len(correct)}
    for attribute in correct:
        known = correct[attribute].dropna()
        low, high = share_interval(int(known.sum()), len(known)) if len(known) else (np.nan, np.nan)
        row |= {f"{attribute}_count": len(known), f"{attribute}_accuracy": known.mean()}
        row |= {f"{attribute}_low": low, f"{attribute}_high": high}
    return row


def weakest(slices: pd.DataFrame, attribute: str) -> pd.Series | None:
    """The slice of at least `MIN_IMAGES` whose interval ends lowest; None if there is none."""
    large = slices[~slices["kind"].isin([ALL, DOMAIN]) & (slices[f"{attribute}_count"] >= MIN_IMAGES)]
    return None if large.empty else large.loc[large[f"{attribute}_high"].idxmin()]


def _slices(rows: pd.DataFrame, table: pd.DataFrame, attributes: Sequence[Attribute]) -> Mapping[str, pd.Series]:
    """Kind → the slice of each row (N,), categorical in the order shown."""
    training, found = table[table["split"] == TRAIN], {}
    for columns in GROUPED_BY:
        if set(columns) <= set(rows):
            values = rows[list(columns)].replace("", "unknown").agg(", ".join, axis=1)
            found[" and ".join(columns)] = values.astype("category")
    for attribute in attributes:
        counts = training[attribute.column].value_counts()
        if len(counts) >= MANY_CLASSES:
            known = rows[attribute.column].map(counts).fillna(0)
            kind = f"training images with the same {attribute.title.lower()}"
            found[kind] = pd.cut(known, [0, *FREQUENCIES.values()], right=False, labels=list(FREQUENCIES))
    return found
