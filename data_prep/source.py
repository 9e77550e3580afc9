"""Where the raw data lies: a folder or zip as Kaggle has it, `styles.csv` beside `images/<id>.jpg`, or on the Hub."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd

from fashion_model.hub import HubError, fetch

HUB = "hf:"
COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)


class SourceError(ValueError):
    """The source is not the public layout; the message says what is missing."""


class Source(Protocol):
    def rows(self) -> Iterator[list[str]]:
        """The products, each a list of texts in the order of COLUMNS; an unquoted name may be spread over several."""

    def image(self, product: int) -> bytes | None:
        """The image file of the product with this id, or None where there is none."""


def source_at(place: str) -> Source:
    """`hf:user/name` or `hf:user/name@revision` is a data set on the Hub, anything else a folder or a zip.

    SourceError if it is not there, or not the data set.
    """
    if not place.startswith(HUB):
        return KaggleSource(Path(place))
    repository, _, revision = place.removeprefix(HUB).partition("@")
    try:
        return ParquetSource(fetch(repository, revision or None, patterns=["*.parquet"], repo_type="dataset"))
    except (HubError, ValueError) as error:
        raise SourceError(f"{place}: {error}") from error


class ParquetSource:
    """The rows of all Parquet files under `folder`: the published columns, and `image` with the file's `bytes`."""

    def __init__(self, folder: Path):
        files = sorted(folder.rglob("*.parquet"))
        if not files:
            raise SourceError("there are no Parquet files")
        self._rows: list[list[str]] = []
        self._images: dict[int, bytes | None] = {}
        for file in files:
            table = pd.read_parquet(file)
            missing = {*COLUMNS, "image"} - set(table.columns)
            if missing:
                raise SourceError(f"{file.name} lacks the columns {sorted(missing)}")
            self._rows += [[_text(value) for value in row] for row in table[list(COLUMNS)].itertuples(index=False)]
            for product, image in zip(table["id"], table["image"], strict=True):
                self._images.setdefault(int(product), image["bytes"] if image else None)

    def rows(self) -> Iterator[list[str]]:
        yield from self._rows

    def image(self, product: int) -> bytes | None:
        return self._images[product]


def _text(value: object) -> str:
    """As styles.csv has it: nothing for a missing value, and whole numbers, like years, without `.0`."""
    if pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class KaggleSource:
    """The published layout at `path`: `styles.csv` beside `images/`, maybe one folder down, in a folder or a zip.

    `zipfile.Path` and `pathlib.Path` share the few methods used here, so there is one code for both.
    """

    def __init__(self, path: Path):
        if path.is_dir():
            top: Path | zipfile.Path = path
        elif path.is_file() and zipfile.is_zipfile(path):
            top = zipfile.Path(path)
        else:
            raise SourceError(f"{path} is neither a folder nor a zip file")
        candidates = [top, *sorted((p for p in top.iterdir() if p.is_dir()), key=lambda p: p.name)]
        self._root = next((p for p in candidates if (p / "styles.csv").is_file()), None)
        if self._root is None:
            raise SourceError(f"{path} holds no styles.csv, neither at the top nor one folder down")
        if not (self._root / "images").is_dir():
            raise SourceError(f"{path} holds no folder images/ beside styles.csv")
        self._images = {p.name.lower(): p for p in (self._root / "images").iterdir()}

    def rows(self) -> Iterator[list[str]]:
        """The rows of styles.csv below its header, as they stand. SourceError if the header is another one.

        Each line is a row: as published, names are not quoted, and a quotation mark at the start of one would otherwise
        swallow the lines that follow.
        """
        try:
            lines = (self._root / "styles.csv").read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise SourceError(f"styles.csv is not UTF-8 text: {error}") from error
        rows = (next(csv.reader([line])) for line in lines if line.strip())
        header = next(rows, [])
        if tuple(header) != COLUMNS:
            raise SourceError(f"styles.csv begins with the columns {header}, not {list(COLUMNS)}")
        yield from rows

    def image(self, product: int) -> bytes | None:
        """The bytes of `images/<product>.jpg`, or None where there is no such file."""
        path = self._images.get(f"{product}.jpg")
        return None if path is None else path.read_bytes()
