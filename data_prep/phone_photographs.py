"""Label and split the Clothing dataset: photographs that people took at home.

    python -m data_prep phone-photographs --source clothing-dataset.zip --output data/

`--source`: the folder or zip of the Clothing dataset (CC0), as published on Kaggle (`agrigorev/clothing-dataset-full`)
or on GitHub (`alexeygrigorev/clothing-dataset`), with `<uuid>.jpg` of any size in any subfolder. The labels are in
`data_prep/phone.csv`; a multimodal model assigned them. Writes `data/phone/phone.csv`, with a column `split`, and
`data/phone/images/<uuid>.jpg` of at most 400 pixels. Half a minute for 3,396 photographs.

A column of accepted labels, such as `colors`, separates them by `|`, best first; `?` means unknown.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.__main__ import main
from data_prep.archive import Archive, SourceConfig, print_splits, replacing_files, save_image
from data_prep.splits import SPLITS, difference_hash, hashed_split, miniature, same_picture_groups
from fashion_model.system import write_text

LABELS = Path(__file__).with_name("phone.csv")
PHONE = "phone"  # folder and table in the data folder

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


def run(config: SourceConfig) -> None:
    archive, folder = Archive(config.source, config.output), config.output / PHONE
    paths, table = archive.labelled(LABELS, "image", ".jpg")
    names = [f"images/{image}.jpg" for image in table["image"]]
    hashes, miniatures = [], []
    with replacing_files(folder, [f"{PHONE}.csv", *names], archive.files()):
        for name in tqdm(names, desc="reading", unit="image", disable=None):
            photograph = archive.image(paths[Path(name).name])
            save_image(photograph, folder / name)
            hashes.append(difference_hash(photograph))
            miniatures.append(miniature(photograph))
        table["split"] = [hashed_split(f"contributor {sender}") for sender in table["sender"]]
        pictures = same_picture_groups(np.stack(hashes), np.stack(miniatures))
        order = table["split"].map(SPLITS.index)  # of the same picture those of the first of the splits are kept
        table = table[order == order.groupby(pictures).transform("min")]
        write_text(folder / f"{PHONE}.csv", table.to_csv(index=False))
    print_splits(table, "sender", "by {} contributors")
    archive.print_passed_over()


if __name__ == "__main__":
    sys.exit(main(["phone-photographs", *sys.argv[1:]]))
