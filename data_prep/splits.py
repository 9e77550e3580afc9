"""Splits that do not depend on row order or a random generator.

The catalogue is split 80/10/10 into train, validation and test, stratified by product type. All images of a picture
group are in the same split. Groups are assigned in the order of the SHA-256 of their name. A product type with
fewer than three groups stays in train: the network can predict it, but it is not measured.

The other data sets are split by the SHA-256 of a name, for example of the contributor.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

TRAIN, VALIDATION, TEST = "train", "validation", "test"
HELD_OUT_SHARE = 0.1  # of the rows of a product type, for validation and for test each
SMALLEST_SPLITTABLE = 3  # groups


def split_column(table: pd.DataFrame) -> pd.Series:
    """The split of each row, with the index of `table`. `table` has the columns group and articleType."""
    groups = table.groupby("group")["articleType"].agg(rows="size", product_type=_most_common)
    groups["order"] = [hashlib.sha256(str(group).encode()).hexdigest() for group in groups.index]
    split_of_group = pd.concat(_assign(of_type) for _, of_type in groups.groupby("product_type"))
    return table["group"].map(split_of_group)


def _assign(groups: pd.DataFrame) -> pd.Series:
    """The splits of the groups of one product type.

    Test and validation take each group that still fits into their share of the rows, and at least one group.
    """
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
    """The split of `name` by its SHA-256. `held_out` is the share of validation and of test, each."""
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100
    return TRAIN if place < 1 - 2 * held_out else VALIDATION if place < 1 - held_out else TEST
