"""Read the catalogue as published: a folder or zip from Kaggle, or a data set of Parquet files on the Hub."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import pandas as pd

from fashion_model.hub import HubError, fetch

HUB = "hf:"
DEPTH = 2  # folders above styles.csv
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


def open_zip(file: Path | BinaryIO) -> zipfile.ZipFile:
    """As `zipfile.ZipFile`; separators of Windows in its names are turned into slashes."""
    archive = zipfile.ZipFile(file)
    for member in archive.infolist():
        member.filename = member.filename.replace("\\", "/")
    archive.NameToInfo = {member.filename: member for member in archive.infolist()}
    return archive


def decoded(data: bytes, name: str) -> str:
    """UTF-8, UTF-16 with a byte order mark, or else Windows-1252, as spreadsheets save. SourceError for others."""
    encodings = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            reason = error
    raise SourceError(f"{name} is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8 ({reason})")


class KaggleSource:
    """A folder or a zip with `styles.csv` and `images/` at the top or up to two folders down; or such a zip in a zip.

    Only methods that `zipfile.Path` and `pathlib.Path` share are used, so the code is the same for both.
    """

    def __init__(self, path: Path):
        if path.is_dir():
            top: Path | zipfile.Path = path
        elif path.is_file() and zipfile.is_zipfile(path):
            top = zipfile.Path(_innermost(open_zip(path)))
        else:
            raise SourceError(f"{path} is neither a folder nor a zip file")
        self._root = next((p for p in _folders(top, DEPTH) if (p / "styles.csv").is_file()), None)
        if self._root is None:
            raise SourceError(f"{path} holds no styles.csv, neither at the top nor up to {DEPTH} folders down")
        if not (self._root / "images").is_dir():
            raise SourceError(f"{path} holds no folder images/ beside styles.csv")
        self._images = {p.name.lower(): p for p in (self._root / "images").iterdir()}

    def rows(self) -> Iterator[list[str]]:
        """The rows of styles.csv. SourceError if the header is not COLUMNS, or the text cannot be decoded.

        Fields are separated by commas, semicolons or tabs. A row that cannot be parsed has no fields. Each line is
        parsed on its own: published names are not quoted, and a quotation mark at the start of a name would make the
        csv module join the lines after it.
        """
        lines = decoded((self._root / "styles.csv").read_bytes(), "styles.csv").split("\n")
        first = next(iter(lines), "")
        separator = max(",;\t", key=first.count)
        header = [name.strip() for name in first.split(separator)]
        if [name.lower() for name in header] != [name.lower() for name in COLUMNS]:
            raise SourceError(f"styles.csv begins with the columns {header}, not {list(COLUMNS)}")
        yield from (_fields(line, separator) for line in lines[1:] if line.strip())

    def image(self, product: int) -> bytes | None:
        """The bytes of `images/<product>.jpg`, or None if there is no such file."""
        path = self._images.get(f"{product}.jpg")
        return None if path is None else path.read_bytes()


def _innermost(archive: zipfile.ZipFile) -> zipfile.ZipFile:
    """The zip in `archive`, if there is nothing else in it."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) == 1 and names[0].lower().endswith(".zip"):
        return open_zip(io.BytesIO(archive.read(names[0])))
    return archive


def _folders(top: Path | zipfile.Path, depth: int) -> Iterator[Path | zipfile.Path]:
    """`top` and those below it, from the top down."""
    level = [top]
    for _ in range(depth + 1):
        yield from level
        level = sorted((p for folder in level for p in folder.iterdir() if p.is_dir()), key=str)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field of more than 131,072 characters
        return []
