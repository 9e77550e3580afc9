"""Read the catalogue as published: a folder or zip from Kaggle, or a data set of Parquet files on the Hub."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from data_prep.archive import Archive
from data_prep.tables import SourceError, decoded, separator_of, whole_number
from fashion_model.hub import HubError, fetch

HUB = "hf:"
COLUMNS = (
    *("id", "gender", "masterCategory", "subCategory", "articleType"),
    *("baseColour", "season", "year", "usage", "productDisplayName"),
)


class ParquetSource:
    """A data set on the Hub, `user/name` or `user/name@revision`: its Parquet files.

    They have COLUMNS and `image`, which is bytes or a struct with the field `bytes`. SourceError if the data set does
    not exist or has another layout.
    """

    archive: Archive | None = None

    def __init__(self, name: str):
        repository, _, revision = name.partition("@")
        self._rows: list[list[str]] = []
        self._images: dict[str, bytes | None] = {}
        try:
            folder = fetch(repository, revision or None, patterns=["*.parquet"], repo_type="dataset")
            self._files = sorted(folder.rglob("*.parquet"))
            if not self._files:
                raise SourceError("there are no Parquet files")
            for file in self._files:
                self._read(file)
        except (HubError, ValueError) as error:
            raise SourceError(f"{HUB}{name}: {error}") from error

    def _read(self, file: Path) -> None:
        table = pd.read_parquet(file)
        if missing := {*COLUMNS, "image"} - set(table.columns):
            raise SourceError(f"{file.name} lacks the columns {sorted(missing)}")
        rows = [[_text(value) for value in row] for row in table[list(COLUMNS)].itertuples(index=False)]
        for row, image in zip(rows, table["image"], strict=True):
            self._images.setdefault(row[0], image["bytes"] if isinstance(image, dict) else image)
        self._rows += rows

    def rows(self) -> Iterable[list[str]]:
        return self._rows

    def image(self, product: str) -> bytes | None:
        return self._images.get(product)

    def files(self) -> Iterable[Path]:
        return self._files


def _text(value: object) -> str:
    """The text in styles.csv: empty for a missing value, and no `.0` after whole numbers such as years."""
    return "" if pd.isna(value) else whole_number(str(value))


class KaggleSource:
    """A folder or a zip with `styles.csv` and, beside it, `images/`, in any subfolder. SourceError for others."""

    def __init__(self, path: Path):
        self.archive = Archive(path)
        self._table = self.archive.find("styles.csv")
        folder = PurePosixPath(self._table).with_name("images").as_posix()
        self._images = self.archive.photographs(f"{folder}/")
        if not self._images:
            raise SourceError(f"{path} holds no photographs in a folder images/ beside styles.csv")

    def rows(self) -> Iterator[list[str]]:
        """The fields of each product in the order of COLUMNS; an unquoted name with commas takes several fields.

        SourceError if the header is not COLUMNS, or the text cannot be decoded. Fields are separated by commas,
        semicolons or tabs. A row that cannot be parsed has no fields. Each line is parsed on its own: published names
        are not quoted, and a quotation mark at the start of a name would make the csv module join the lines after it.
        """
        text = decoded(self.archive.read(self._table), f"{self.archive.path}: {self._table}")
        header, *lines = re.split(r"\r\n|\r|\n", text)
        separator = separator_of(header)
        columns = [name.strip() for name in header.split(separator)]
        if [name.lower() for name in columns] != [name.lower() for name in COLUMNS]:
            raise SourceError(f"styles.csv begins with the columns {columns}, not {list(COLUMNS)}")
        yield from (_fields(line, separator) for line in lines if line.strip())

    def image(self, product: str) -> bytes | None:
        """The bytes of the image file of the product with this id, or None if there is no file."""
        path = self._images.get(f"{product}.jpg")
        return None if path is None else self.archive.read(path)

    def files(self) -> Iterable[Path]:
        """The files on disk that may not be overwritten."""
        return self.archive.files([self._table, *self._images.values()])


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field of more than 131,072 characters
        return []
