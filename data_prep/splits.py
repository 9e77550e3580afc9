"""Train 80 %, validation 10 %, test 10 %: stratified by product type, whole groups of equal pictures at a time.

A group is known by its smallest id, and the order in which groups are dealt is that id's SHA-256, so a row's split
depends neither on the order of the rows nor on a random generator. A type with fewer than three groups cannot stand
in all splits: its rows stay in training, so that the network can still name it, and it is never measured.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

TRAIN, VALIDATION, TEST = "train", "validation", "test"
HELD_OUT_SHARE = 0.1  # of the rows of a type, for validation and for test each
SMALLEST_SPLITTABLE = 3  # groups


def split_column(table: pd.DataFrame) -> pd.Series:
    """`table` has the columns id, group, articleType. Returns `train`, `validation` or `test` for each row."""
    groups = table.groupby("group").agg(
        first_id=("id", "min"), rows=("id", "size"), product_type=("articleType", _most_common)
    )
    groups["order"] = [hashlib.sha256(str(i).encode()).hexdigest() for i in groups["first_id"]]
    split_of_group = pd.concat(_deal(of_type) for _, of_type in groups.groupby("product_type"))
    return table["group"].map(split_of_group)


def _deal(groups: pd.DataFrame) -> pd.Series:
    """The splits of one type's groups. A held-out split takes each group that fits into its share, at least one."""
    splits = pd.Series(TRAIN, index=groups.index)
    if len(groups) < SMALLEST_SPLITTABLE:
        return splits
    quota = max(1, round(HELD_OUT_SHARE * groups["rows"].sum()))
    left = {TEST: quota, VALIDATION: quota}
    in_order = groups.sort_values("order")
    for group, rows in in_order["rows"].items():
        for split in left:
            if rows <= left[split]:
                splits[group] = split
                left[split] -= rows
                break
    for split in left:
        if split not in splits.to_numpy():
            splits[in_order.loc[splits == TRAIN, "rows"].idxmin()] = split
    return splits


def _most_common(labels: pd.Series) -> str:
    values, counts = np.unique(labels.to_numpy(dtype=str), return_counts=True)
    return str(values[counts.argmax()])


def hashed_split(name: str, held_out: float = 0.15) -> str:
    """The split of whatever `name` stands for, by its SHA-256: `held_out` of all in validation and in test each."""
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100
    return TRAIN if place < 1 - 2 * held_out else VALIDATION if place < 1 - held_out else TEST
