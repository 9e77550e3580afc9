"""One row a photograph, or a product in it: its fields, and files of rows.

Rows are written as JSON Lines as soon as they are known, so that a killed run loses at most the row it was writing, and
a later run can go on. CSV and Parquet files are written from them at the end.
"""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from fashion_model.attributes import IS_FASHION
from fashion_model.images import ImageError, is_photograph
from fashion_model.predictions import DIGITS, FASHION_FIELDS, Prediction, Product
from fashion_model.system import naming, replacing

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one
BEFORE_ERROR = 4  # attributes; those of a checkpoint with more follow at the end, so that no field moves
CHECKPOINT = "checkpoint"  # last field of a row in a file: the digest of what predicted it
CSV, JSON_LINES, PARQUET = ".csv", ".jsonl", ".parquet"
BOX_FIELDS, FOUND_FIELDS = ("left", "top", "right", "bottom"), ("group", "score")  # of a product
ROW_GROUP = 10_000  # rows of a Parquet file held in memory
NO_IMAGE = "no image among the files and folders given"
START = b'{"file": "'  # of every line of JSON

Row = dict[str, str | float | bool | None]


class OutputError(ValueError):
    """The rows cannot be written there; the message is fit for the user."""


def fields_of(attributes: Sequence[str], products: bool = False) -> tuple[str, ...]:
    """The fields of a row: file, label and confidence of each attribute, error, is_fashion, score and threshold.

    A row of a product has its box, group and score after them.
    """
    pairs = [field for name in attributes for field in (name, f"{name}_confidence")]
    before = 2 * BEFORE_ERROR
    is_fashion, *scores = FASHION_FIELDS
    fields = ("file", *pairs[:before], "error", is_fashion, *pairs[before:], *scores)
    return (*fields, *BOX_FIELDS, *FOUND_FIELDS) if products else fields


def rows_of(
    file: str | os.PathLike[str],
    result: Prediction | Sequence[Product] | ImageError,
    attributes: Sequence[str],
    products: bool = False,
) -> list[Row]:
    """The row of `file`, or, with `products`, one for each of its products; None where there is no value.

    Where there is no product, one row says that the photograph shows no fashion product.
    """
    empty: Row = dict.fromkeys(fields_of(attributes, products)) | {"file": name_in_row(file)}
    if isinstance(result, ImageError):
        return [empty | {"error": str(result)}]
    found = [result] if isinstance(result, Prediction) else result
    return [empty | dict(_values(each.to_document())) for each in found] or [empty | {IS_FASHION: False}]


def _values(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a row from `to_document` of a prediction or a product."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from ((name, value["label"]), (f"{name}_confidence", value["confidence"]))
        else:
            yield from zip(BOX_FIELDS, value, strict=True) if name == "box" else [(name, value)]


def name_in_row(file: str | os.PathLike[str]) -> str:
    """The file's name; bytes in it that are not UTF-8 are written with backslashes."""
    return os.fspath(file).encode("utf-8", "backslashreplace").decode("utf-8")


def csv_of(rows: Iterable[Row], header: Sequence[str] = ()) -> str:
    """Lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows([*([header] if header else []), *(map(_cell, row.values()) for row in rows)])
    return text.getvalue()


def json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _cell(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return str(value) if isinstance(value, int) else f"{value:.{DIGITS}f}"
    # An apostrophe before what a spreadsheet would calculate: https://owasp.org/www-community/attacks/CSV_Injection
    return f"'{value}" if value.lstrip("'").startswith(FORMULA) else value


def parquet_schema(fields: Sequence[str]) -> Any:
    """The `pyarrow.Schema` of rows with these fields."""
    import pyarrow as pa

    is_fashion, *scores = FASHION_FIELDS
    numbers = (field for field in fields if field in (*scores, "score") or field.endswith("_confidence"))
    types = {is_fashion: pa.bool_()} | dict.fromkeys(BOX_FIELDS, pa.int64()) | dict.fromkeys(numbers, pa.float64())
    return pa.schema(pa.field(f, types.get(f, pa.string()), nullable=f != "file") for f in fields)


def check_output(path: Path, sources: Iterable[str], resume: bool = False) -> None:
    """OutputError for an unknown ending, Parquet without pyarrow, or a file that cannot be replaced or continued.

    Not replaced are `sources` and photographs.
    """
    suffix = path.suffix.lower()
    if suffix not in (CSV, JSON_LINES, PARQUET):
        raise OutputError(f"the output has to end in .csv, .jsonl or .parquet; it is {path.name}")
    if suffix == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except Exception as error:  # it may be damaged in any way
            raise OutputError("Parquet needs one more package: pip install pyarrow") from error
    if path.is_dir():
        raise OutputError(f"{path}: Is a directory")
    given = os.path.realpath(path) in map(os.path.realpath, sources)
    if given or (path.is_file() and is_photograph("", lambda: path.open("rb"))):
        raise OutputError(f"{path} is {'given to be labelled' if given else 'a photograph'} and is not replaced")
    if resume and path.exists() and not _unfinished(path).exists():
        raise OutputError(f"{path} is finished, and only .jsonl files can be continued then")


@contextmanager
def open_output(
    path: Path | None, fields: Sequence[str], checkpoint: str, resume: bool = False
) -> Iterator[tuple[Counter[str], Callable[[Sequence[Row]], None]]]:
    """Write rows of a checkpoint (its digest) to `path` in the format of its ending, or as CSV to standard output.

    The context is how many rows each file has already, and a function that writes the rows of a file. With `resume` the
    rows of an unfinished file, or of JSON Lines, are kept except those with an error. Any other file is replaced at the
    end. OutputError if the rows have other columns or are another checkpoint's.
    """
    fields = (*fields, CHECKPOINT)
    if path is None:
        _print(csv_of([], fields))
        yield Counter(), lambda rows: _print(csv_of(row | {CHECKPOINT: checkpoint} for row in rows))
        return
    unfinished = _unfinished(path)
    done = _keep_rows(unfinished, fields, checkpoint) if resume and unfinished.exists() else Counter()
    with naming(unfinished), unfinished.open("ab" if done else "wb") as file:

        def write(rows: Sequence[Row]) -> None:
            file.write("".join(json_line(row | {CHECKPOINT: checkpoint}) for row in rows).encode())
            file.flush()

        yield done, write
    if unfinished != path:
        with replacing(path) as finished, unfinished.open("rb") as lines:
            (_write_csv if path.suffix.lower() == CSV else _write_parquet)(finished, map(json.loads, lines), fields)
        unfinished.unlink()


def _print(line: str) -> None:
    """Print in UTF-8 and with the line ends of CSV, whatever the encoding of the console is."""
    sys.stdout.buffer.write(line.encode())
    sys.stdout.buffer.flush()


def _unfinished(path: Path) -> Path:
    """Where the rows for `path` are written while the run goes on."""
    return path if path.suffix.lower() == JSON_LINES else path.with_name(f"{path.name}.unfinished.jsonl")


def _keep_rows(path: Path, fields: Sequence[str], checkpoint: str) -> Counter[str]:
    """Delete the rows with an error, and one that is cut off.

    Of products those of the last file, too: some may lack. Returns how many rows of each file are left.
    """
    done: Counter[str] = Counter()
    last, start = None, 0  # the last file, and where its rows begin
    with replacing(path) as unfinished, path.open("rb") as old, unfinished.open("wb") as new:
        for number, line in enumerate(old, 1):
            if not line.endswith(b"\n") and line.startswith(START[: len(line)]):
                break  # it was being written when the run ended
            try:
                row = json.loads(line)
            except ValueError as error:
                raise OutputError(f"{path} cannot be continued: line {number} is no row") from error
            if not isinstance(row, dict) or tuple(row) != tuple(fields):
                raise OutputError(f"{path} was not written by this command for this checkpoint: its columns differ")
            if row[CHECKPOINT] != checkpoint:
                raise OutputError(f"{path} has rows of another checkpoint than {checkpoint}")
            if row["error"] is None:
                if row["file"] != last:
                    last, start = row["file"], new.tell()
                new.write(line)
                done[row["file"]] += 1
        if last is not None and BOX_FIELDS[0] in fields:
            new.truncate(start)
            del done[last]
    return done


def _write_csv(path: Path, rows: Iterator[Row], fields: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_of([], fields))
        file.writelines(csv_of([row]) for row in rows)


def _write_parquet(path: Path, rows: Iterator[Row], fields: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = parquet_schema(fields)
    with ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))
