"""Accuracy on parts of the rows, each with its number of rows and a 95 % interval: small ones may not mislead."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from data_prep.splits import TRAIN
from fashion_model.attributes import ATTRIBUTES
from train.metrics import share_interval
from train.report.answers import AttributeAnswers

ALL, PICTURE = "all", "kind of picture"
RARITIES = {"below 20": 20, "20–99": 100, "100–499": 500, "500 and more": np.inf}  # training rows: below the value
ENOUGH = 30  # photographs, for a slice to be called the weakest
RARITY_OF = ("product_type", "color")  # the attributes that have rare labels


def accuracy_by_slice(answers: Mapping[str, AttributeAnswers], rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Columns kind, slice, rows, and for each attribute right, accuracy, low and high, as `color_right`.

    `rows` are those answered, `table` has all, of which the training rows are counted.
    """
    right = right_answers(answers)
    parts = [accuracies(ALL, "all photographs", right)]
    for kind, names in _slices(rows, table).items():
        used = names.cat.remove_unused_categories().cat.categories
        parts += [accuracies(kind, name, right[names == name]) for name in used]
    return pd.DataFrame(parts)


def accuracies(kind: str, name: str, right: pd.DataFrame) -> dict[str, str | int | float]:
    """One row of `accuracy_by_slice`: right (N, attributes) bool."""
    found: dict[str, str | int | float] = {"kind": kind, "slice": name, "rows": len(right)}
    for attribute in right:
        count = int(right[attribute].sum())
        low, high = share_interval(count, len(right))
        found |= {f"{attribute}_right": count, f"{attribute}_accuracy": count / len(right)}
        found |= {f"{attribute}_low": low, f"{attribute}_high": high}
    return found


def right_answers(answers: Mapping[str, AttributeAnswers]) -> pd.DataFrame:
    """(N, attributes) bool."""
    return pd.DataFrame({name: a.right for name, a in answers.items()})


def _slices(rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, pd.Series]:
    """Kind of slice → the slice of each row (N,), categories in the order they are shown."""
    training = table[table["split"] == TRAIN]
    found = {
        "gender and season": (rows["gender"] + ", " + rows["season"]).astype("category"),
        "year listed": rows["year"].replace("", "unknown").astype("category"),
    }
    for attribute in ATTRIBUTES:
        if attribute.name in RARITY_OF:
            known = rows[attribute.column].map(training[attribute.column].value_counts()).fillna(0)
            kind = f"training photographs with the same {attribute.title.lower()}"
            found[kind] = pd.cut(known, [0, *RARITIES.values()], right=False, labels=list(RARITIES))
    return found


def weakest(slices: pd.DataFrame, attribute: str) -> pd.Series | None:
    """The slice of `ENOUGH` photographs whose interval ends lowest; None if none has so many."""
    parts = slices[~slices["kind"].isin([ALL, PICTURE]) & (slices["rows"] >= ENOUGH)]
    return None if parts.empty else parts.loc[parts[f"{attribute}_high"].idxmin()]
