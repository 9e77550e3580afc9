"""Read tables as people save them: any of three encodings and separators, with the file and the row in each error."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_prep.splits import SPLITS

NOT_LABELS = ("id", "group", "split", "productDisplayName")  # columns in which `?` has no meaning
UNKNOWN = "?"


class SourceError(ValueError):
    """A source is missing, unreadable or has another layout; the message says what is wrong."""


def decoded(data: bytes, name: str) -> str:
    """UTF-8, UTF-16 with a byte order mark, or else Windows-1252, as spreadsheets save. SourceError for others."""
    encodings = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            reason = error
    raise SourceError(f"{name} is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8 ({reason})")


def separator_of(header: str) -> str:
    """The comma, semicolon or tab that separates the names of columns."""
    return max(",;\t", key=header.count)


def whole_number(value: str) -> str:
    """`1163.0`, as spreadsheets write numbers, → `1163`. Other text is unchanged; leading zeros are kept."""
    return re.sub(r"^([0-9]+)\.0+$", r"\1", value)


def read_table(data: bytes, name: str, required: Sequence[str]) -> pd.DataFrame:
    """The rows of a CSV file as text without surrounding spaces, indexed by the number of their line.

    `name` stands for the file in messages. The `required` columns are found whatever their case. SourceError if one is
    missing, a row has another number of fields than the header, or there are no rows.
    """
    text = decoded(data, name)
    separator = separator_of(re.split(r"[\r\n]", text, maxsplit=1)[0])
    lines = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True, strict=True)
    try:  # records that are not empty, with the number of their last line, from 1
        records = [(lines.line_num, [field.strip() for field in fields]) for fields in lines if any(fields)]
    except csv.Error as error:
        raise SourceError(f"{name}, row {lines.line_num}: {error}") from error
    (_, header), *rows = records or [(0, [])]
    spelling = {column.lower(): column for column in required}
    columns = [spelling.get(column.lower(), column) for column in header]
    missing = [column for column in required if column not in columns]
    if missing or len(set(columns)) < len(columns):
        wrong = f"lacks the columns {missing}" if missing else "has two columns of one name"
        raise SourceError(f"{name} {wrong}; its columns are {columns}")
    for number, row in rows:
        if len(row) < len(columns) or any(row[len(columns) :]):
            raise SourceError(f"{name}, row {number}: {len(row)} fields, but {len(columns)} columns")
    if not rows:
        raise SourceError(f"{name} has no rows")
    return pd.DataFrame([row[: len(columns)] for _, row in rows], [number for number, _ in rows], columns)


def read_cleaned(path: Path) -> pd.DataFrame:
    """A table of products: `cleaned_styles.csv` as the command `catalogue` writes it, or a user's own.

    Every value is text. `?`, an unknown label, becomes the empty string. Names of several accepted labels stay in one
    cell, see `accepted_labels`. SourceError if the file is missing; and, with the row, for an id that is repeated or
    cannot be the name of a file, an empty group, or a split that is none of the three.
    """
    if not path.is_file():
        raise SourceError(f"{path} is missing; `python -m data_prep catalogue --output {path.parent}` writes it")
    table = read_table(path.read_bytes(), str(path), ("id", "group", "split"))
    table = table.assign(id=table["id"].map(whole_number), group=table["group"].map(whole_number))
    for wrong, sentence in (
        (~table["id"].map(_names_a_file), "the id {id!r} cannot be the name of a photograph"),
        (table["id"].duplicated(), "the id {id!r} is repeated"),
        (table["group"] == "", "the group is empty"),
        (~table["split"].isin(SPLITS), "the split {split!r} is none of train, validation and test"),
    ):
        if wrong.any():
            row = table[wrong].iloc[0]
            raise SourceError(f"{path}, row {row.name}: {sentence.format(**row[['id', 'split']])}")
    labels = [column for column in table if column not in NOT_LABELS]
    table[labels] = table[labels].replace(UNKNOWN, "")
    return table.reset_index(drop=True)


def _names_a_file(name: str) -> bool:
    return name not in ("", ".", "..") and not re.search(r'[\\/:*?"<>|\x00-\x1f]', name)


def accepted_labels(cell: str) -> list[str]:
    """The labels in a cell, separated by `|`, best first; none where it is empty or unknown."""
    return [label for label in map(str.strip, cell.split("|")) if label not in ("", UNKNOWN)]
