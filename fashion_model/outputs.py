"""Files of rows written by a prediction run, which a later run can continue.

Each row is written as soon as it is known, so that a killed run loses at most the row it was writing. Parquet has its
index at the end of the file: it is written as a whole and cannot be continued.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from fashion_model.files import naming, replacing
from fashion_model.predictions import FASHION_FIELDS
from fashion_model.rows import Row, TextFormat, csv_format, fields_of, json_lines_format, name_in_row

FORMATS = {"": csv_format, ".csv": csv_format, ".jsonl": json_lines_format}
PARQUET = ".parquet"
ROW_GROUP = 10_000  # rows of a Parquet file held in memory


class OutputError(ValueError):
    """The rows cannot be written there; the message is fit for the user."""


@dataclass(frozen=True)
class Output:
    """The files that have a row already, in order, and `write` for more rows. Read `done` before writing."""

    done: Iterator[str]
    write: Callable[[Row], None]


def check_output(path: Path, resume: bool = False) -> None:
    """OutputError for an unknown ending, Parquet without pyarrow, or Parquet to be continued."""
    suffix = path.suffix.lower()
    if suffix not in (*FORMATS, PARQUET):
        raise OutputError(f"the output has to end in .csv, .jsonl or .parquet; it is {path.name}")
    if suffix == PARQUET and resume:
        raise OutputError(
            "a Parquet file cannot be continued: resume to .jsonl and convert it with "
            "pandas.read_json(path, lines=True).to_parquet(…)"
        )
    if suffix == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise OutputError("Parquet needs one more package: pip install pyarrow") from error


@contextmanager
def open_output(path: Path | None, attributes: Sequence[str], resume: bool = False) -> Iterator[Output]:
    """Write rows to `path` in the format of its ending, or CSV to standard output if it is None.

    An existing file is continued if `resume`, else replaced. OutputError if it cannot be continued.
    """
    if path is None:
        yield Output(iter(()), _writer(sys.stdout.buffer, csv_format(attributes), empty=True))
    elif path.suffix.lower() == PARQUET:
        with _open_parquet(path, attributes) as output:
            yield output
    else:
        with _open_text(path, FORMATS[path.suffix.lower()](attributes), resume) as output:
            yield output


def not_done(paths: Iterable[Path], done: Iterator[str]) -> Iterator[Path]:
    """Those of `paths` that have no row in `done` yet.

    While both agree in order, nothing is held in memory. From the first difference on, the names of the remaining rows
    are.
    """
    paths = iter(paths)
    for path in paths:
        name = next(done, None)
        if name == name_in_row(path):
            continue
        rest = Counter(done if name is None else chain([name], done))
        for other in chain([path], paths):
            if rest[name_in_row(other)] > 0:
                rest[name_in_row(other)] -= 1
            else:
                yield other


@contextmanager
def _open_text(path: Path, format: TextFormat, resume: bool) -> Iterator[Output]:
    end = _end_of_rows(path, format) if resume and path.exists() else 0
    with naming(path), path.open("ab" if end else "wb") as file:
        if end:
            file.truncate(end)
        yield Output(_files(path, format) if end else iter(()), _writer(file, format, empty=not end))


@contextmanager
def _open_parquet(path: Path, attributes: Sequence[str]) -> Iterator[Output]:
    """`path` is replaced once all rows are written."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema, rows = parquet_schema(attributes), []

    def write(row: Row) -> None:
        rows.append(row)
        if len(rows) == ROW_GROUP:
            flush()

    def flush() -> None:
        writer.write_table(pa.Table.from_pylist(rows, schema))
        rows.clear()

    with replacing(path) as unfinished, ParquetWriter(unfinished, schema) as writer:
        yield Output(iter(()), write)
        flush()


def parquet_schema(attributes: Sequence[str]) -> Any:
    """Of rows: a `pyarrow.Schema`."""
    import pyarrow as pa

    is_fashion, *scores = FASHION_FIELDS
    numbers = (*scores, *(f"{name}_confidence" for name in attributes))
    types = {is_fashion: pa.bool_()} | dict.fromkeys(numbers, pa.float64())
    return pa.schema(pa.field(f, types.get(f, pa.string()), nullable=f != "file") for f in fields_of(attributes))


def _writer(file: BinaryIO, format: TextFormat, empty: bool) -> Callable[[Row], None]:
    def put(text: str) -> None:
        file.write(text.encode())
        file.flush()

    if empty:
        put(format.header)
    return lambda row: put(format.line(row))


def _files(path: Path, format: TextFormat) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(len(format.header))
        yield from format.files(line.decode() for line in file)


def _end_of_rows(path: Path, format: TextFormat) -> int:
    """The offset after the last complete row; what follows was being written when the run ended."""
    header = format.header.encode()
    with path.open("rb") as file:
        start = file.read(len(header))
        if start != header:
            if header.startswith(start):
                return 0
            raise OutputError(f"{path} was not written by this command for this checkpoint: its columns differ")
        end = here = len(header)
        line, whole = "", False

        def lines() -> Iterator[str]:
            nonlocal here, line, whole
            for content in file:
                line = content.decode("utf-8", "replace")  # a name may be cut within a character
                here, whole = here + len(content), content.endswith(b"\n")
                yield line

        try:
            for _ in format.files(lines()):
                if whole:
                    end = here
        except ValueError as error:
            begins_row = line.startswith(format.start) or format.start.startswith(line)
            foreign = format.start and (whole or not begins_row)
            if foreign or here < path.stat().st_size:
                raise OutputError(f"{path} cannot be continued: byte {end} begins no row ({error})") from error
    return end
