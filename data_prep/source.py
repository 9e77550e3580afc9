"""Read the catalogue as published: a folder or zip from Kaggle, or a data set of Parquet files on the Hub."""

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
    """A source is missing, unreadable or has another layout; the message says what is wrong."""


class Source(Protocol):
    def rows(self) -> Iterator[list[str]]:
        """The fields of each product in the order of COLUMNS. An unquoted name with commas takes several fields."""

    def image(self, product: int) -> bytes | None:
        """The bytes of the image file of the product with this id, or None if there is no file."""


def source_at(place: str) -> Source:
    """Open `hf:user/name` or `hf:user/name@revision`, a data set on the Hub, or else a folder or a zip.

    SourceError if it does not exist or has another layout.
    """
    if not place.startswith(HUB):
        return KaggleSource(Path(place))
    repository, _, revision = place.removeprefix(HUB).partition("@")
    try:
        return ParquetSource(fetch(repository, revision or None, patterns=["*.parquet"], repo_type="dataset"))
    except (HubError, ValueError) as error:
        raise SourceError(f"{place}: {error}") from error


class ParquetSource:
    """All Parquet files under `folder`, with the columns COLUMNS and `image`, a struct with the field `bytes`."""

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
    """The text in styles.csv: empty for a missing value, and no `.0` after whole numbers such as years."""
    if pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class KaggleSource:
    """A folder or a zip with `styles.csv` and `images/` at the top or one folder down.

    Only methods that `zipfile.Path` and `pathlib.Path` share are used, so the code is the same for both.
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
        """The rows of styles.csv. SourceError if the header is not COLUMNS, or the file is not UTF-8.

        Each line is parsed on its own: published names are not quoted, and a quotation mark at the start of a name
        would make the csv module join the lines after it.
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
        """The bytes of `images/<product>.jpg`, or None if there is no such file."""
        path = self._images.get(f"{product}.jpg")
        return None if path is None else path.read_bytes()
