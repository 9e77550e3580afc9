"""Where the raw data lies: `styles.csv` beside `images/<id>.jpg`, in a folder or in a zip, maybe one folder down."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path

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


class Source:
    """Raw rows and raw image bytes of the data set at `path` (a folder or a zip).

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
