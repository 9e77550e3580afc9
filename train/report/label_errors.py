"""Labels that are likely wrong: where the network disagrees confidently, and where one picture has several labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from train.data.table import NAME
from train.report.answers import AttributeAnswers


def likely_label_errors(answers: AttributeAnswers, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `answers` whose label is likely wrong, most likely first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 2021): the predicted class differs from the label, and its
    probability reaches the mean probability of that class on images labeled with it. Sorted by the margin between the
    probabilities of prediction and label. The last column, same_picture, has the labels of the same picture under other
    ids in `table`.
    """
    rows = answers.rows
    usual = rows.groupby("label")["label_probability"].mean()
    confident = rows["confidence"] >= rows["answer"].map(usual)  # False where no image has this label
    found = rows[~answers.right & confident].copy()
    margin = found["confidence"] - found["label_probability"]
    found["same_picture"] = _labels_of_same_picture(found, table, answers.attribute.column)
    return found.loc[margin.sort_values(ascending=False, kind="stable").index]


def _labels_of_same_picture(rows: pd.DataFrame, table: pd.DataFrame, column: str) -> np.ndarray:
    """(N,) text: the distinct labels of other rows of the same group."""
    groups = dict(tuple(table[table["group"].isin(rows["group"])].groupby("group")))
    return np.array(
        [
            ", ".join(sorted(set(groups[group].loc[groups[group]["id"] != product, column])))
            for product, group in zip(rows["id"], rows["group"], strict=True)
        ],
        dtype=object,
    )


def contradictions(table: pd.DataFrame, column: str) -> tuple[pd.DataFrame, int]:
    """The rows whose picture has several ids with different labels, and how many pictures have several ids."""
    groups = table.groupby("group")[column]
    several = table[groups.transform("size") > 1]
    apart = table[groups.transform("nunique") > 1].sort_values(["group", "id"])
    columns = {"group": "picture", "id": "id", column: "label", "split": "split", NAME: "name"}
    return apart[list(columns)].rename(columns=columns), several["group"].nunique()
