"""One row a photograph: its fields, and how it is written as CSV and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fashion_model.images import ImageError
from fashion_model.predictions import DIGITS, FASHION_FIELDS, Prediction

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one
BEFORE_ERROR = 4  # attributes; those of a checkpoint with more follow at the end, so that no field moves

Row = dict[str, str | float | bool | None]


def fields_of(attributes: Sequence[str]) -> tuple[str, ...]:
    """The fields of a row: file, label and confidence of each attribute, error, is_fashion, score and threshold."""
    pairs = [field for name in attributes for field in (name, f"{name}_confidence")]
    before = 2 * BEFORE_ERROR
    is_fashion, *scores = FASHION_FIELDS
    return ("file", *pairs[:before], "error", is_fashion, *pairs[before:], *scores)


def row_of(file: str | os.PathLike[str], result: Prediction | ImageError, attributes: Sequence[str]) -> Row:
    """The row of `file`, with the fields of `attributes`; None where there is no value."""
    row: Row = dict.fromkeys(fields_of(attributes)) | {"file": name_in_row(file)}
    if isinstance(result, ImageError):
        return row | {"error": str(result)}
    document = result.to_document()
    for name in attributes:
        row |= {name: document[name]["label"], f"{name}_confidence": document[name]["confidence"]}
    return row | {field: document[field] for field in FASHION_FIELDS}


def name_in_row(file: str | os.PathLike[str]) -> str:
    """The file's name; bytes in it that are not UTF-8 are written with backslashes."""
    return os.fspath(file).encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class TextFormat:
    """How rows become lines of text, and which files the rows of a text belong to."""

    header: str
    line: Callable[[Row], str]  # a file name may contain line ends, so it can be several lines
    files: Callable[[Iterator[str]], Iterator[str]]  # of lines without the header; ValueError for an incomplete row
    start: str  # of every row, if each row is one line


def csv_format(attributes: Sequence[str]) -> TextFormat:
    fields = fields_of(attributes)

    def files(lines: Iterator[str]) -> Iterator[str]:
        try:
            for cells in csv.reader(lines):
                if len(cells) != len(fields):
                    raise ValueError(f"{len(cells)} values instead of {len(fields)}")
                yield _without_quote(cells[0])
        except csv.Error as error:
            raise ValueError(str(error)) from error

    return TextFormat(_csv_line(fields), lambda row: _csv_line(map(_text, row.values())), files, start="")


def json_lines_format(attributes: Sequence[str]) -> TextFormat:
    fields = fields_of(attributes)

    def files(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            row = json.loads(line)
            if not isinstance(row, dict) or tuple(row) != fields:
                raise ValueError("other values than those of a row")
            yield row["file"]

    return TextFormat("", lambda row: json.dumps(row, ensure_ascii=False) + "\n", files, start='{"file": ')


def csv_of(rows: Iterable[Row], attributes: Sequence[str]) -> str:
    """A CSV file with header."""
    format = csv_format(attributes)
    return format.header + "".join(map(format.line, rows))


def json_lines_of(rows: Iterable[Row], attributes: Sequence[str]) -> str:
    """A JSON Lines file."""
    return "".join(map(json_lines_format(attributes).line, rows))


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _text(value: str | float | bool | None) -> str:
    """The value in a CSV file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _as_text(value) if isinstance(value, str) else f"{value:.{DIGITS}f}"


def _as_text(value: str) -> str:
    """With an apostrophe before what a spreadsheet would calculate (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if value.lstrip("'").startswith(FORMULA) else value


def _without_quote(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell
