"""Read the catalogue as published: a folder or zip from Kaggle, or a data set of Parquet files on the Hub."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import pandas as pd

from data_prep.archive import Archive
from data_prep.tables import SourceError, separator_of, shortened, whole_number
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


class Source(Protocol):
    archives: list[Archive]  # those whose unread files are counted

    def rows(self) -> Iterator[list[str]]:
        """The fields of each product in the order of COLUMNS. An unquoted name with commas takes several fields."""

    def image(self, product: str) -> bytes | None:
        """The bytes of the image file of the product with this id, or None if there is no file."""

    def files(self) -> Iterable[Path]:
        """The files on disk that may not be overwritten."""


def source_at(location: str) -> Source:
    """Open `hf:user/name` or `hf:user/name@revision`, a data set on the Hub, or else a folder or a zip.

    SourceError if it does not exist or has another layout.
    """
    if not location.startswith(HUB):
        return KaggleSource(Path(location))
    repository, _, revision = location.removeprefix(HUB).partition("@")
    try:
        return ParquetSource(fetch(repository, revision or None, patterns=["*.parquet"], repo_type="dataset"))
    except (HubError, ValueError) as error:
        raise SourceError(f"{location}: {error}") from error


class ParquetSource:
    """All Parquet files under `folder`, with COLUMNS and `image`, which is bytes or a struct with the field `bytes`."""

    archives: list[Archive] = []  # noqa: RUF012

    def __init__(self, folder: Path):
        self._files = sorted(folder.rglob("*.parquet"))
        if not self._files:
            raise SourceError("there are no Parquet files")
        self._rows: list[list[str]] = []
        self._images: dict[str, bytes | None] = {}
        for file in self._files:
            table = pd.read_parquet(file)
            missing = {*COLUMNS, "image"} - set(table.columns)
            if missing:
                raise SourceError(f"{file.name} lacks the columns {sorted(missing)}")
            rows = [[_text(value) for value in row] for row in table[list(COLUMNS)].itertuples(index=False)]
            for row, image in zip(rows, table["image"], strict=True):
                self._images.setdefault(row[0], image["bytes"] if isinstance(image, dict) else image)
            self._rows += rows

    def rows(self) -> Iterator[list[str]]:
        yield from self._rows

    def image(self, product: str) -> bytes | None:
        return self._images.get(product)

    def files(self) -> Iterable[Path]:
        return self._files


def _text(value: object) -> str:
    """The text in styles.csv: empty for a missing value, and no `.0` after whole numbers such as years."""
    return "" if pd.isna(value) else whole_number(str(value))


class KaggleSource:
    """A folder or a zip with `styles.csv` and, beside it, `images/`, in any subfolder."""

    def __init__(self, path: Path):
        archive = Archive(path)
        self.archives = [archive]
        self._table = archive.find("styles.csv")
        folder = PurePosixPath(self._table).with_name("images").as_posix()
        self._images = archive.photographs(f"{folder}/")
        if not self._images:
            raise SourceError(f"{path} holds no photographs in a folder images/ beside styles.csv")

    def rows(self) -> Iterator[list[str]]:
        """The rows of styles.csv. SourceError if the header is not COLUMNS, or the text cannot be decoded.

        Fields are separated by commas, semicolons or tabs. A row that cannot be parsed has no fields. Each line is
        parsed on its own: published names are not quoted, and a quotation mark at the start of a name would make the
        csv module join the lines after it.
        """
        header, *lines = re.split(r"\r\n|\r|\n", self.archives[0].text(self._table))
        separator = separator_of(header)
        columns = [name.strip() for name in header.split(separator)]
        if [name.lower() for name in columns] != [name.lower() for name in COLUMNS]:
            raise SourceError(f"styles.csv begins with the columns {shortened(columns)}, not {list(COLUMNS)}")
        yield from (_fields(line, separator) for line in lines if line.strip())

    def image(self, product: str) -> bytes | None:
        path = self._images.get(f"{product}.jpg")
        return None if path is None else self.archives[0].read(path)

    def files(self) -> Iterable[Path]:
        return self.archives[0].files([self._table, *self._images.values()])


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field of more than 131,072 characters
        return []
