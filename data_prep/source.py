"""Read the catalogue as published: a folder or zip from Kaggle, or a data set of Parquet files on the Hub."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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


@dataclass
class Source:
    """The catalogue as published."""

    rows: Iterable[list[str]]  # the fields of each product in the order of COLUMNS; a name with commas takes several
    image: Callable[[str], bytes | None]  # the id of a product → the bytes of its image file, None if there is none
    files: Iterable[Path]  # on disk, that may not be overwritten
    archive: Archive | None = None


def hub_source(name: str) -> Source:
    """The Parquet files of a data set on the Hub, `user/name` or `user/name@revision`.

    They have COLUMNS and `image`, which is bytes or a struct with the field `bytes`. SourceError if the data set does
    not exist or has another layout.
    """
    repository, _, revision = name.partition("@")
    rows: list[list[str]] = []
    images: dict[str, bytes | None] = {}
    try:
        folder = fetch(repository, revision or None, patterns=["*.parquet"], repo_type="dataset")
        files = sorted(folder.rglob("*.parquet"))
        if not files:
            raise SourceError("there are no Parquet files")
        for file in files:
            table = pd.read_parquet(file)
            if missing := {*COLUMNS, "image"} - set(table.columns):
                raise SourceError(f"{file.name} lacks the columns {sorted(missing)}")
            for *row, image in table[[*COLUMNS, "image"]].itertuples(index=False):
                # As in styles.csv: empty for a missing value, and no `.0` after whole numbers such as years.
                rows.append(["" if pd.isna(value) else whole_number(str(value)) for value in row])
                images.setdefault(rows[-1][0], image["bytes"] if isinstance(image, dict) else image)
    except (HubError, ValueError) as error:
        raise SourceError(f"{HUB}{name}: {error}") from error
    return Source(rows, images.get, files)


def kaggle_source(path: Path) -> Source:
    """A folder or a zip with `styles.csv` and, beside it, `images/`, in any subfolder. SourceError for others."""
    archive = Archive(path)
    table = archive.find("styles.csv")
    images = archive.photographs(f"{PurePosixPath(table).with_name('images').as_posix()}/")
    if not images:
        raise SourceError(f"{path} holds no photographs in a folder images/ beside styles.csv")

    def image(product: str) -> bytes | None:
        name = images.get(f"{product}.jpg")
        return None if name is None else archive.read(name)

    rows = rows_of_styles(decoded(archive.read(table), f"{path}: {table}"))
    return Source(rows, image, archive.files([table, *images.values()]), archive)


def rows_of_styles(text: str) -> Iterator[list[str]]:
    """The rows of styles.csv, separated by commas, semicolons or tabs. SourceError if the header is not COLUMNS.

    A row that cannot be parsed has no fields. Each line is parsed on its own: published names are not quoted, and a
    quotation mark at the start of a name would make the csv module join the lines after it.
    """
    header, *lines = re.split(r"\r\n|\r|\n", text)
    separator = separator_of(header)
    columns = [name.strip() for name in header.split(separator)]
    if [name.lower() for name in columns] != [name.lower() for name in COLUMNS]:
        raise SourceError(f"styles.csv begins with the columns {columns}, not {list(COLUMNS)}")
    for line in filter(str.strip, lines):
        try:
            yield next(csv.reader([line], delimiter=separator))
        except csv.Error:  # a field of more than 131,072 characters
            yield []
