"""Clean the catalogue and split it.

    python -m data_prep.clean_data --source fashion-product-images-small.zip --output data/

`--source`: the folder or zip published on Kaggle, with `styles.csv` and `images/`, or
`hf:ashraq/fashion-product-images-small`, whose Parquet files are downloaded from the Hub. Writes
`data/cleaned_styles.csv` (the ten published columns; `group`, the smallest id with the same picture; `split`) and
`data/images/<id>.jpg` (the published bytes). One minute for 41,846 rows.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from data_prep import TABLE
from data_prep.archive import MAX_SIDE, save_image
from data_prep.duplicates import difference_hash, miniature, same_picture_groups
from data_prep.source import COLUMNS, Source, SourceError, source_at
from data_prep.splits import TEST, TRAIN, VALIDATION, split_column
from fashion_model.console import exit_with, sentence_of
from fashion_model.files import write_bytes, write_text
from fashion_model.images import ImageError, open_image

LABEL_COLUMNS = ("baseColour", "articleType", "season", "gender")  # rows without one of them are dropped
OPTIONAL_COLUMNS = ("usage",)  # normalized like labels; empty if missing
MISSING = frozenset({"", "na", "n/a", "nan", "none", "null"})

MALFORMED, REPEATED, NO_IMAGE, BAD_IMAGE = "row malformed", "id repeated", "image missing", "image unreadable"
REASONS = (MALFORMED, REPEATED, *(f"label missing: {column}" for column in LABEL_COLUMNS), NO_IMAGE, BAD_IMAGE)


@dataclass
class Counts:
    """Numbers of rows. `kept` and the values of `dropped` add up to `read`."""

    read: int = 0
    kept: int = 0
    recovered: int = 0  # rows read whose unquoted name has commas
    dropped: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REASONS, 0)))

    def lines(self) -> list[str]:
        rows = [
            ("rows read", self.read),
            *((f"dropped: {why}", n) for why, n in self.dropped.items()),
            ("rows kept", self.kept),
            ("recovered (commas in an unquoted name)", self.recovered),
        ]
        return [f"{n:>8,}  {what}" for what, n in rows]


def parse_row(row: list[str]) -> dict[str, str] | None:
    """The values of a row by column. None if there are too few fields or the id is not a number.

    Fields beyond COLUMNS are the rest of a name with commas, which is the last column. Labels are normalized.
    """
    if len(row) < len(COLUMNS) or not re.fullmatch(r"[0-9]+(\.0+)?", row[0].strip()):  # spreadsheets write 1163.0
        return None
    last = len(COLUMNS) - 1
    values = [*row[:last], ",".join(row[last:])]
    product = {column: " ".join(value.split()) for column, value in zip(COLUMNS, values, strict=True)}
    product["id"] = str(int(product["id"].partition(".")[0]))
    return product | {column: normalise_case(product[column]) for column in (*LABEL_COLUMNS, *OPTIONAL_COLUMNS)}


def normalise_case(label: str) -> str:
    """`NAVY blue` → `Navy Blue`, `mask And peel` → `Mask and Peel`; a missing label becomes the empty string."""
    words = [word.capitalize() for word in label.split()]
    words[1:] = ["and" if word == "And" else word for word in words[1:]]
    text = " ".join(words)
    return "" if text.lower() in MISSING else text


def clean(source: Source, output: Path) -> tuple[pd.DataFrame, Counts]:
    """Write the images of the usable rows. Returns these rows, with `group` and `split`, by id, and the counts."""
    counts, products, hashes, miniatures = Counts(), {}, [], []
    (output / "images").mkdir(parents=True, exist_ok=True)
    # Sorted, so that which of two rows with the same id is kept does not depend on the row order.
    for row in tqdm(sorted(source.rows()), desc="reading", unit="row", disable=None):
        counts.read += 1
        product = parse_row(row)
        counts.recovered += product is not None and len(row) > len(COLUMNS)
        reason = _reason_to_drop(product, products)
        if reason is None:
            try:
                data = source.image(int(product["id"]))
                image = None if data is None else open_image(data, MAX_SIDE)
                reason = NO_IMAGE if data is None else None
            except (ImageError, OSError, zipfile.BadZipFile, zlib.error):
                reason = BAD_IMAGE
        if reason is not None:
            counts.dropped[reason] += 1
            continue
        products[product["id"]] = product
        hashes.append(difference_hash(image))
        miniatures.append(miniature(image))
        _write(image, data, output / "images" / f"{product['id']}.jpg")
    counts.kept = len(products)
    if not products:
        return pd.DataFrame(columns=[*COLUMNS, "group", "split"]), counts
    table = pd.DataFrame(products.values()).astype({"id": int})
    component = same_picture_groups(np.stack(hashes), np.stack(miniatures))
    table["group"] = table.groupby(component)["id"].transform("min")
    table["split"] = split_column(table)
    return table.sort_values("id", ignore_index=True), counts


def _write(image: Image.Image, data: bytes, path: Path) -> None:
    """The file as published, or a smaller one in place of a large original."""
    if max(image.info["size"]) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        save_image(image, path)
    else:
        write_bytes(path, data)


def _reason_to_drop(product: dict[str, str] | None, seen: dict[str, dict[str, str]]) -> str | None:
    if product is None:
        return MALFORMED
    if product["id"] in seen:
        return REPEATED
    missing = [column for column in LABEL_COLUMNS if not product[column]]
    return f"label missing: {missing[0]}" if missing else None


def describe_splits(table: pd.DataFrame) -> list[str]:
    """Lines with the size of each split, the number of duplicates, and the labels that are missing in some split."""
    sizes = table["split"].value_counts()
    lines = [f"{sizes.get(split, 0):>8,}  {split}" for split in (TRAIN, VALIDATION, TEST)]
    per_group = table["group"].value_counts()
    shared = per_group[per_group > 1]
    lines.append(f"{shared.sum():>8,}  rows share their picture with another id, in {len(shared):,} groups")
    for column in (*LABEL_COLUMNS, *OPTIONAL_COLUMNS):
        labeled = table[table[column] != ""]
        present = pd.crosstab(labeled[column], labeled["split"])
        present = present.reindex(columns=[TRAIN, VALIDATION, TEST], fill_value=0)
        lines.append(f"{len(present):>8,}  classes of {column}")
        for split in (TRAIN, VALIDATION, TEST):
            lacking = present[present[split] == 0].index
            if len(lacking):
                lines.append(f"{len(lacking):>8,}    not in {split}: {', '.join(lacking)}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.clean_data", description=__doc__.split("\n")[0])
    parser.add_argument("--source", required=True, help="folder or zip with styles.csv and images/, or hf:user/name")
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    options = parser.parse_args(arguments)
    try:
        table, counts = clean(source_at(options.source), options.output)
        if not table.empty:
            write_text(options.output / TABLE, table.to_csv(index=False))
    except (SourceError, OSError) as error:
        print(f"clean_data: {sentence_of(error)}", file=sys.stderr)
        return 2
    print("\n".join(counts.lines()))
    if table.empty:
        print("clean_data: no usable row", file=sys.stderr)
        return 1
    print("\n".join(describe_splits(table)))
    return 0


if __name__ == "__main__":
    exit_with(main)
