"""One row a photograph: what it holds, and how it is written as CSV and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fashion_model.attributes import NAMES
from fashion_model.classifier import Prediction
from fashion_model.images import ImageError

FIELDS = ("file", *(field for name in NAMES for field in (name, f"{name}_confidence")), "error", "is_fashion")
CONFIDENCES = frozenset(f"{name}_confidence" for name in NAMES)
DIGITS = 4  # of a confidence

Row = dict[str, str | float | bool | None]


def row_of(file: str | os.PathLike[str], result: Prediction | ImageError) -> Row:
    """The row of `file`, by FIELDS; None where there is nothing to say."""
    row: Row = dict.fromkeys(FIELDS) | {"file": name_in_row(file)}
    if isinstance(result, ImageError):
        return row | {"error": str(result)}
    for name in NAMES:
        row |= {name: result[name].label, f"{name}_confidence": round(result[name].confidence, DIGITS)}
    return row | {"is_fashion": result.is_fashion}


def name_in_row(file: str | os.PathLike[str]) -> str:
    """A file's name need not be valid text: what is not is written with backslashes."""
    return os.fspath(file).encode("utf-8", "backslashreplace").decode("utf-8")


def texts(row: Row) -> list[str]:
    """As they stand in a CSV file."""
    return [_text(field, row[field]) for field in FIELDS]


def csv_of(rows: Iterable[Row]) -> str:
    return CSV.header + "".join(map(CSV.line, rows))


@dataclass(frozen=True)
class TextFormat:
    """How rows become lines of text, and which files the rows of a text belong to."""

    header: str
    line: Callable[[Row], str]  # a name in it may hold line ends, so it can be several
    files: Callable[[Iterator[str]], Iterator[str]]  # of lines without the header; ValueError at what is no whole row
    start: str  # of every row; if there is any, a row is one line


def _text(field: str, value: str | float | bool | None) -> str:
    if value is None:
        return ""
    if field in CONFIDENCES:
        return f"{value:.{DIGITS}f}"
    if field == "is_fashion":
        return "yes" if value else "no"
    return value


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _files_of_csv(lines: Iterator[str]) -> Iterator[str]:
    try:
        for cells in csv.reader(lines):
            if len(cells) != len(FIELDS):
                raise ValueError(f"{len(cells)} values instead of {len(FIELDS)}")
            yield cells[0]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _files_of_json_lines(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        row = json.loads(line)
        if not isinstance(row, dict) or tuple(row) != FIELDS:
            raise ValueError("other values than those of a row")
        yield row["file"]


CSV = TextFormat(_csv_line(FIELDS), lambda row: _csv_line(texts(row)), _files_of_csv, start="")
JSON_LINES = TextFormat(
    "", lambda row: json.dumps(row, ensure_ascii=False) + "\n", _files_of_json_lines, start='{"file": '
)
