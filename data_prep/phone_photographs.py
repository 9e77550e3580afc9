"""Label and split the Clothing dataset: photographs that people took at home.

    python -m data_prep.phone_photographs --source clothing-dataset.zip --output data/

`--source`: the folder or zip of the Clothing dataset (CC0), as published on Kaggle (`agrigorev/clothing-dataset-full`)
or on GitHub (`alexeygrigorev/clothing-dataset`), with `<uuid>.jpg` of any size in any subfolder. The labels are in
`data_prep/phone.csv`; a multimodal model assigned them. Writes `data/phone/phone.csv`, with a column `split`, and
`data/phone/images/<uuid>.jpg` of at most 400 pixels. Half a minute for 3,396 photographs.

A column of accepted labels, such as `colors`, separates them by `|`, best first; `?` means unknown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from data_prep.archive import MAX_SIDE, Archive, delete_images, save_image
from data_prep.duplicates import difference_hash, miniature, same_picture_groups
from data_prep.source import SourceError
from data_prep.splits import TEST, TRAIN, VALIDATION, hashed_split
from fashion_model.console import exit_with, sentence_of
from fashion_model.files import write_text

LABELS = Path(__file__).with_name("phone.csv")
FOLDER, TABLE = "phone", "phone.csv"

# The contributors' own labels → the product types accepted for them; "Not sure" and "Other" have none.
TOPS = ("Tops", "Tshirts", "Tunics", "Camisoles", "Innerwear Vests")
WARM = ("Sweaters", "Sweatshirts", "Jackets", "Shrug")
COARSE: dict[str, tuple[str, ...]] = {
    "Blazer": ("Blazers", "Jackets", "Suits", "Waistcoat", "Nehru Jackets"),
    "Blouse": (*TOPS, "Shirts"),
    "Body": ("Rompers", "Jumpsuit", "Swimwear", *TOPS),
    "Dress": ("Dresses", "Nightdress", "Jumpsuit", "Tunics"),
    "Hat": ("Caps", "Hat"),
    "Hoodie": ("Sweatshirts", "Jackets", "Sweaters"),
    "Longsleeve": (*TOPS, *WARM, "Shirts"),
    "Outwear": (*WARM, "Rain Jacket", "Blazers", "Waistcoat", "Nehru Jackets"),
    "Pants": (
        *("Trousers", "Jeans", "Track Pants", "Leggings", "Lounge Pants", "Tights", "Capris", "Jeggings"),
        *("Churidar", "Salwar", "Patiala", "Rain Trousers"),
    ),
    "Polo": ("Tshirts", "Tops", "Shirts"),
    "Shirt": ("Shirts", "Jackets", "Tops", "Tunics"),
    "Shoes": (
        *("Casual Shoes", "Formal Shoes", "Sports Shoes", "Heels", "Flats", "Sandals", "Sports Sandals", "Flip Flops"),
        "Booties",
    ),
    "Shorts": ("Shorts", "Capris", "Boxers", "Swimwear"),
    "Skirt": ("Skirts",),
    "T-Shirt": ("Tshirts", "Tops", "Innerwear Vests"),
    "Top": (*TOPS, "Nightdress"),
    "Undershirt": TOPS,
}


def prepare(source: Path, output: Path) -> pd.DataFrame:
    """Write the labeled photographs of `source` and their table. Returns the table.

    Labels without a photograph in `source` are left out. SourceError if there is no photograph, or one is unreadable.
    """
    archive = Archive(source)
    table = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
    table = table[[f"{image}.jpg" in archive for image in table["image"]]].reset_index(drop=True)
    if table.empty:
        raise SourceError(f"{source} holds none of the photographs that {LABELS.name} has labels of")
    hashes, miniatures = [], []
    delete_images(output / FOLDER / "images")
    for image in tqdm(table["image"], desc="reading", unit="image", disable=None):
        photograph = archive.image(f"{image}.jpg", MAX_SIDE)
        save_image(photograph, output / FOLDER / "images" / f"{image}.jpg")
        hashes.append(difference_hash(photograph))
        miniatures.append(miniature(photograph))
    table["split"] = [hashed_split(f"contributor {sender}") for sender in table["sender"]]
    table = drop_duplicates_across_splits(table, same_picture_groups(np.stack(hashes), np.stack(miniatures)))
    write_text(output / FOLDER / TABLE, table.to_csv(index=False))
    return table


def drop_duplicates_across_splits(table: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """Keep the photographs of one split per group: train before validation before test.

    `groups` (N,) numbers the photographs that show the same picture.
    """
    order = table["split"].map({TRAIN: 0, VALIDATION: 1, TEST: 2})
    return table[order == order.groupby(groups).transform("min")].reset_index(drop=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.phone_photographs", description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, required=True, help="folder or zip of the Clothing dataset")
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    options = parser.parse_args(arguments)
    try:
        table = prepare(options.source, options.output)
    except (SourceError, OSError) as error:
        print(f"phone_photographs: {sentence_of(error)}", file=sys.stderr)
        return 2
    for split in (TRAIN, VALIDATION, TEST):
        rows = table[table["split"] == split]
        print(f"{len(rows):>8,}  {split}, by {rows['sender'].nunique()} contributors")
    return 0


if __name__ == "__main__":
    exit_with(main)
