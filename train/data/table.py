"""The cleaned table, its splits, and the attributes that are trained from its columns."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from data_prep import TABLE
from data_prep.tables import accepted_labels, read_cleaned
from fashion_model.attributes import Attribute, LabelEncoders, LabelWords
from fashion_model.checkpoint import TRAINED_ON, CheckpointError
from fashion_model.system import write_text

# Attributes that are trained without being asked for, with their columns and titles.
COLUMNS_AND_TITLES = {
    "color": ("baseColour", "Color"),
    "product_type": ("articleType", "Product type"),
    "season": ("season", "Season of use"),
    "gender": ("gender", "Target gender"),
}
DEFAULT_ATTRIBUTES = tuple(COLUMNS_AND_TITLES)
LABEL_WORDS = Path(__file__).with_name("label_words.json")  # of the public catalogue's labels
NAME, CATEGORY = "productDisplayName", "masterCategory"  # optional columns of the table


class DataError(ValueError):
    """A table or photograph to train or measure on is missing or unusable; the message names it."""


def attributes_named(names: Sequence[str]) -> tuple[Attribute, ...]:
    """An attribute that is not in `COLUMNS_AND_TITLES` is the table's column of that name. ValueError for others."""
    if len(set(names)) < len(names):
        raise ValueError(f"an attribute is named twice: {', '.join(names)}")
    known = {name: (name, name.replace("_", " ").capitalize()) for name in names} | COLUMNS_AND_TITLES
    return tuple(Attribute(name, *known[name]) for name in names)


def read_table(data: Path) -> pd.DataFrame:
    """`data`/cleaned_styles.csv as text, see `read_cleaned`. Optional columns that it lacks are empty."""
    table = read_cleaned(data / TABLE)
    return table.assign(**{column: "" for column in (NAME, CATEGORY) if column not in table})


def rows_of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """DataError if the split has no rows."""
    rows = table[table["split"] == split]
    if rows.empty:
        raise DataError(f"the table has no rows in split {split!r}; it has {sorted(set(table['split']))}")
    return rows


def fit_encoders(rows: pd.DataFrame, attributes: Sequence[Attribute]) -> LabelEncoders:
    """The labels that occur in `rows`. DataError if a column is missing or has none."""
    columns = {}
    for attribute in attributes:
        if attribute.column not in rows:
            raise DataError(f"the table has no column {attribute.column!r} for attribute {attribute.name!r}")
        labels = {label for cell in rows[attribute.column] for label in accepted_labels(cell)}
        columns[attribute.name] = tuple(sorted(labels))
        if not columns[attribute.name]:
            raise DataError(f"the column {attribute.column!r} of the training rows is empty")
    return with_words(columns)


def with_words(labels: Mapping[str, tuple[str, ...]]) -> LabelEncoders:
    """The labels of each attribute, with the words for those of the public catalogue."""
    return LabelEncoders(labels, LabelWords.load(LABEL_WORDS).of({x for each in labels.values() for x in each}))


def read_trained_on(checkpoint: Path) -> set[str]:
    """Ids of the products that the checkpoint was trained on. CheckpointError if they are not known."""
    path = checkpoint / TRAINED_ON
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} has no {TRAINED_ON}, so what it was trained on is not known")
    return set(filter(None, path.read_text(encoding="utf-8").split("\n")))


def write_trained_on(checkpoint: Path, ids: Iterable[str]) -> None:
    """To be called before the weights are saved, so that no checkpoint lacks the file. Numbers are sorted by value."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_text(checkpoint / TRAINED_ON, "".join(f"{i}\n" for i in sorted(set(ids), key=lambda i: (len(i), i))))


def without_pictures_of(rows: pd.DataFrame, table: pd.DataFrame, ids: Collection[str]) -> pd.DataFrame:
    """`rows` without those that show the same picture as one of `ids`."""
    groups = set(table.loc[table["id"].isin(ids), "group"])
    return rows[~rows["group"].isin(groups)]
