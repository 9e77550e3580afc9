"""The cleaned table, its splits, and the attributes that are trained from its columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_prep import TABLE
from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.checkpoint import TRAINED_ON, CheckpointError
from fashion_model.system import write_text

DEFAULT_ATTRIBUTES = ("color", "product_type", "season", "gender")
COLUMNS_AND_TITLES = {
    "color": ("baseColour", "Color"),
    "product_type": ("articleType", "Product type"),
    "season": ("season", "Season of use"),
    "gender": ("gender", "Target gender"),
}
NAME, CATEGORY = "productDisplayName", "masterCategory"  # optional columns of the table


class DataError(ValueError):
    """A table or photograph to train or measure on is missing or unusable; the message names it."""


def attributes_named(names: Sequence[str]) -> tuple[Attribute, ...]:
    """An attribute that is not in `COLUMNS_AND_TITLES` is the table's column of that name."""
    known = {name: (name, name.replace("_", " ").capitalize()) for name in names} | COLUMNS_AND_TITLES
    return tuple(Attribute(name, *known[name]) for name in names)


def table_file(data: Path) -> Path:
    """`data`/cleaned_styles.csv. DataError if it is missing."""
    if not (data / TABLE).is_file():
        raise DataError(f"{data / TABLE} is missing; `python -m data_prep catalogue --output {data}` writes it")
    return data / TABLE


def read_table(data: Path) -> pd.DataFrame:
    """The cleaned table; every value is text except `id` and `group`. Optional columns that it lacks are empty."""
    table = pd.read_csv(table_file(data), dtype=str, keep_default_na=False).astype({"id": int, "group": int})
    return table.assign(**{column: "" for column in (NAME, CATEGORY) if column not in table})


def rows_of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """DataError if the split has no rows."""
    rows = table[table["split"] == split]
    if rows.empty:
        raise DataError(f"the table has no rows in split {split!r}; it has {sorted(set(table['split']))}")
    return rows


def fit_encoders(rows: pd.DataFrame, attributes: Sequence[Attribute]) -> LabelEncoders:
    """The labels that occur in `rows`; an empty cell is no label. DataError if a column is missing or empty."""
    columns = {}
    for attribute in attributes:
        if attribute.column not in rows:
            raise DataError(f"the table has no column {attribute.column!r} for attribute {attribute.name!r}")
        columns[attribute.name] = [label for label in rows[attribute.column] if label]
        if not columns[attribute.name]:
            raise DataError(f"the column {attribute.column!r} of the training rows is empty")
    return LabelEncoders.fit(columns)


def read_trained_on(checkpoint: Path) -> set[int]:
    """Ids of the products that the checkpoint was trained on. CheckpointError if they are not known."""
    path = checkpoint / TRAINED_ON
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint} is not a directory")
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} has no {TRAINED_ON}, so what it was trained on is not known")
    try:
        return set(map(int, path.read_text(encoding="utf-8").split()))
    except ValueError as error:
        raise CheckpointError(f"{path} does not hold one id a line: {error}") from error


def write_trained_on(checkpoint: Path, ids: Iterable[int]) -> None:
    """Called before the weights are saved, so that a checkpoint never lacks the file."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_text(checkpoint / TRAINED_ON, "".join(f"{i}\n" for i in sorted(set(ids))))


def without_pictures_of(rows: pd.DataFrame, table: pd.DataFrame, ids: set[int]) -> pd.DataFrame:
    """`rows` without those that show the same picture as one of `ids`."""
    groups = set(table.loc[table["id"].isin(ids), "group"])
    return rows[~rows["group"].isin(groups)]
