"""Files of rows that a run writes, and that another one continues after an interruption.

A row goes to the file as soon as it is known: what is killed loses no finished row, and at most the last one is cut
off. Parquet has its list of contents at the end and cannot grow. So its rows are first collected as JSON Lines, in
OUTPUT.parquet.jsonl, and become OUTPUT.parquet once all are there.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from fashion_model.classifier import batches
from fashion_model.rows import CONFIDENCES, CSV, FIELDS, JSON_LINES, Row, TextFormat, name_in_row

ENDINGS = {"": CSV, ".csv": CSV, ".jsonl": JSON_LINES}
PARQUET = ".parquet"
ROWS_AT_ONCE = 10_000  # of a Parquet file in memory


class OutputError(ValueError):
    """The rows cannot be written there; the message is fit for the person who asked."""


@dataclass(frozen=True)
class Output:
    """Rows that are there already, by their files and in order, and `write` for more. Read `done` before writing."""

    done: Iterator[str]
    write: Callable[[Row], None]


def check_output(path: Path) -> None:
    """OutputError for an ending that stands for no format, and for Parquet without what writes it."""
    if path.suffix.lower() not in (*ENDINGS, PARQUET):
        raise OutputError(f"the output has to end in .csv, .jsonl or .parquet; it is {path.name}")
    if path.suffix.lower() == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise OutputError("Parquet needs a package more: pip install pyarrow") from error


@contextmanager
def open_output(path: Path | None, resume: bool = False) -> Iterator[Output]:
    """Write to `path` in the format of its ending, or CSV to standard output without one.

    What is there is continued if `resume`, else replaced. OutputError if it cannot be continued.
    """
    if path is None:
        yield Output(iter(()), _writer(sys.stdout.buffer, CSV, empty=True))
    elif path.suffix.lower() == PARQUET:
        journal = path.with_name(f"{path.name}.jsonl")
        if resume and path.exists() and not journal.exists():
            _replace(journal, lambda new: _parquet_to_lines(path, new))
        with _open_text(journal, JSON_LINES, resume) as output:
            yield output
        _replace(path, lambda new: _lines_to_parquet(journal, new))
        journal.unlink()
    else:
        with _open_text(path, ENDINGS[path.suffix.lower()], resume) as output:
            yield output


def not_done(paths: Iterable[Path], done: Iterator[str]) -> Iterator[Path]:
    """Those of `paths` that have no row in `done` yet.

    As long as both agree nothing is kept in memory. From the first file on that was added or has vanished in the
    meantime, the names of the other rows are.
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
    with path.open("ab" if end else "wb") as file:
        if end:
            file.truncate(end)
        yield Output(_files(path, format) if end else iter(()), _writer(file, format, empty=not end))


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
    """The byte after the last complete row; what follows was being written when the run ended."""
    header = format.header.encode()
    with path.open("rb") as file:
        start = file.read(len(header))
        if start != header:
            if header.startswith(start):
                return 0
            raise OutputError(f"{path} was not written by this command: it begins with other columns")
        end = here = len(header)
        line, whole = "", False

        def lines() -> Iterator[str]:
            nonlocal here, line, whole
            for content in file:
                line = content.decode("utf-8", "replace")  # a name may be cut within a letter
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


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Whoever reads `path` finds all of it or what was there before."""
    new = path.with_name(f"{path.name}.new")
    write(new)
    new.replace(path)


def _lines_to_parquet(lines: Path, parquet: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {"is_fashion": pa.bool_()} | dict.fromkeys(CONFIDENCES, pa.float64())
    schema = pa.schema([pa.field(name, types.get(name, pa.string()), nullable=name != "file") for name in FIELDS])
    with lines.open(encoding="utf-8", newline="\n") as file, ParquetWriter(parquet, schema) as writer:
        for rows in batches(map(json.loads, file), ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _parquet_to_lines(parquet: Path, lines: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(parquet) as file:
            if tuple(file.schema_arrow.names) != FIELDS:
                raise OutputError(f"{parquet} was not written by this command: it has other columns")
            with lines.open("w", encoding="utf-8", newline="\n") as journal:
                for rows in file.iter_batches(ROWS_AT_ONCE):
                    journal.writelines(map(JSON_LINES.line, rows.to_pylist()))
    except pa.ArrowInvalid as error:
        raise OutputError(f"{parquet} is no Parquet file") from error
