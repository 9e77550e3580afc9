"""Clean the catalogue and split it.

    python -m data_prep catalogue --source fashion-product-images-small.zip --output data/

`--source`: the folder or zip published on Kaggle, with `styles.csv` and `images/`, or
`hf:ashraq/fashion-product-images-small`, whose Parquet files are downloaded from the Hub. Writes
`data/cleaned_styles.csv` (the ten published columns; `group`, the smallest id with the same picture; `split`) and
`data/images/<id>.jpg` (the published bytes; originals of more than 400 pixels are shrunk). One minute for 41,846 rows.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from data_prep import TABLE
from data_prep.__main__ import main
from data_prep.archive import PREPARED_SIDE, replacing_files, save_image
from data_prep.source import COLUMNS, HUB, Source, hub_source, kaggle_source
from data_prep.splits import SPLITS, difference_hash, miniature, same_picture_groups, split_column
from data_prep.tables import SourceError, accepted_labels, read_cleaned, whole_number
from fashion_model.images import ImageError, open_image
from fashion_model.system import replacing, write_bytes, write_text

LABEL_COLUMNS = ("baseColour", "articleType", "season", "gender")  # rows without one of them are dropped
OPTIONAL_COLUMNS = ("usage",)  # normalized like labels; empty if missing
MISSING = frozenset({"", "na", "n/a", "nan", "none", "null"})
INCHES_PER_BAR = 0.2

# What is counted. The rows kept and the rows dropped add up to the rows read.
READ, KEPT, RECOVERED = "rows read", "rows kept", "recovered (commas in an unquoted name)"
MALFORMED, REPEATED = "dropped: row malformed", "dropped: id repeated"
MISSING_LABELS = {column: f"dropped: label missing: {column}" for column in LABEL_COLUMNS}
NO_IMAGE, BAD_IMAGE = "dropped: image missing", "dropped: image unreadable"


@dataclass(frozen=True)
class Config:
    source: str  # A folder or zip with styles.csv and images/, or hf:user/name.
    output: Path  # The data folder.


def run(config: Config) -> None:
    name = config.source
    source = hub_source(name.removeprefix(HUB)) if name.startswith(HUB) else kaggle_source(Path(name))
    table, counts = clean(source, config.output)
    for what, count in counts.items():
        print(f"{count:>8,}  {what}")
    if source.archive:
        source.archive.print_passed_over()
    print("\n".join(describe_splits(table)))


def clean(source: Source, output: Path) -> tuple[pd.DataFrame, Counter[str]]:
    """Write the usable rows and their images. Returns these rows, with `group` and `split`, by id, and the counts."""
    counts = Counter(
        dict.fromkeys((READ, MALFORMED, REPEATED, *MISSING_LABELS.values(), NO_IMAGE, BAD_IMAGE, KEPT, RECOVERED), 0)
    )
    candidates: dict[str, dict[str, str]] = {}
    # Sorted, so that which of two rows with the same id is kept does not depend on the row order.
    for row in sorted(source.rows):
        product = parse_row(row)
        counts[READ] += 1
        counts[RECOVERED] += product is not None and len(row) > len(COLUMNS)
        if product is None:
            reason = MALFORMED
        elif product["id"] in candidates:
            reason = REPEATED
        else:
            reason = next((reason for column, reason in MISSING_LABELS.items() if not product[column]), None)
        if reason:
            counts[reason] += 1
        else:
            candidates[product["id"]] = product
    with replacing_files(output, [TABLE, *(f"images/{i}.jpg" for i in candidates)], source.files):
        table = _write_images(source, candidates, output / "images", counts)
        if table.empty:  # and what an earlier run has written stays
            raise SourceError(
                f"the source has no usable row: {', '.join(f'{n:,} {what}' for what, n in counts.items())}"
            )
        write_text(output / TABLE, table.to_csv(index=False))
    return table, counts


def parse_row(row: list[str]) -> dict[str, str] | None:
    """The values of a row by column. None if there are too few fields or the id is not a number.

    Fields beyond COLUMNS are the rest of a name with commas, which is the last column. Labels are normalized. The id
    stays text, as in some catalogues ids begin with zeros.
    """
    last = len(COLUMNS) - 1
    values = [*row[:last], ",".join(row[last:])]
    if len(row) <= last or not re.fullmatch("[0-9]+", whole_number(row[0].strip())):
        return None
    product = {column: " ".join(value.split()) for column, value in zip(COLUMNS, values, strict=True)}
    labels = {column: normalise_case(product[column]) for column in (*LABEL_COLUMNS, *OPTIONAL_COLUMNS)}
    return product | labels | {"id": whole_number(product["id"])}


def normalise_case(label: str) -> str:
    """`NAVY blue` → `Navy Blue`, `mask And peel` → `Mask and Peel`; a missing label becomes the empty string."""
    words = [word.capitalize() for word in label.split()]
    words[1:] = ["and" if word == "And" else word for word in words[1:]]
    text = " ".join(words)
    return "" if text.lower() in MISSING else text


def _write_images(
    source: Source, candidates: dict[str, dict[str, str]], folder: Path, counts: Counter[str]
) -> pd.DataFrame:
    """The rows, sorted by id, of the candidates whose image is usable; it is written to `folder`."""
    products, hashes, miniatures = [], [], []
    in_order = sorted(candidates.values(), key=lambda product: (int(product["id"]), product["id"]))
    for product in tqdm(in_order, desc="reading", unit="image", disable=None):
        try:
            data = source.image(product["id"])
            if data is None:
                counts[NO_IMAGE] += 1
                continue
            image = open_image(data, PREPARED_SIDE)
        except (ImageError, SourceError, OSError):
            counts[BAD_IMAGE] += 1
            continue
        products.append(product)
        hashes.append(difference_hash(image))
        miniatures.append(miniature(image))
        path = folder / f"{product['id']}.jpg"
        if max(image.info["size"]) > PREPARED_SIDE:
            image.thumbnail((PREPARED_SIDE, PREPARED_SIDE), Image.Resampling.LANCZOS)
            save_image(image, path)
        else:
            write_bytes(path, data)  # as published
    counts[KEPT] = len(products)
    if not products:
        return pd.DataFrame(columns=[*COLUMNS, "group", "split"])
    table = pd.DataFrame(products)
    table["group"] = table.groupby(same_picture_groups(np.stack(hashes), np.stack(miniatures)))["id"].transform("first")
    table["split"] = split_column(table)
    return table


def describe_splits(table: pd.DataFrame) -> list[str]:
    """Lines with the size of each split, the number of duplicates, and the labels that are missing in some split."""
    sizes = table["split"].value_counts()
    lines = [f"{sizes.get(split, 0):>8,}  {split}" for split in SPLITS]
    per_group = table["group"].value_counts()
    shared = per_group[per_group > 1]
    lines.append(f"{shared.sum():>8,}  rows share their picture with another id, in {len(shared):,} groups")
    for column in (*LABEL_COLUMNS, *OPTIONAL_COLUMNS):
        labeled = table[table[column] != ""]
        present = pd.crosstab(labeled[column], labeled["split"]).reindex(columns=SPLITS, fill_value=0)
        lines.append(f"{len(present):>8,}  classes of {column}")
        for split in SPLITS:
            lacking = present[present[split] == 0].index
            if len(lacking):
                lines.append(f"{len(lacking):>8,}    not in {split}: {', '.join(lacking)}")
    return lines


@dataclass(frozen=True)
class ChartConfig:
    data: Path = Path("data")  # The data folder.
    output: Path | None = None  # The folder of the charts; by default figures/ in the data folder.
    columns: tuple[str, ...] = (*LABEL_COLUMNS, *OPTIONAL_COLUMNS)
    """The columns to draw; those without any label are left out."""


def draw_class_distribution(config: ChartConfig) -> None:
    """Draw the number of products of each class, one bar chart for each column of the cleaned table."""
    table, folder = read_cleaned(config.data / TABLE), config.output or config.data / "figures"
    drawn = [column for column in config.columns if column in table and table[column].any()]
    stems = [re.sub(r"\W+", "_", column) for column in drawn]
    repeated = [stems[:i].count(stem) for i, stem in enumerate(stems)]
    columns = {f"{s}_{n}.png" if n else f"{s}.png": c for s, n, c in zip(stems, repeated, drawn, strict=True)}
    if not columns:
        raise SourceError(f"{config.data / TABLE} has none of the columns; it has {list(table)}")
    with rc_context({"text.parse_math": False}), replacing_files(folder, columns, [config.data / TABLE]):
        for name, column in columns.items():
            counts = table[column].map(accepted_labels).explode().value_counts(ascending=True)
            figure = Figure(figsize=(8, 1 + INCHES_PER_BAR * len(counts)), layout="constrained")
            axes = counts.plot.barh(ax=figure.subplots(), logx=True, fontsize=8, xlabel="products", ylabel="")
            axes.set_title(f"{column}: {len(counts)} classes, {(table[column] != '').sum():,} products")
            with replacing(folder / name) as unfinished:
                figure.savefig(unfinished, dpi=120, format="png")
            print(folder / name)


if __name__ == "__main__":
    sys.exit(main(["catalogue", *sys.argv[1:]]))
