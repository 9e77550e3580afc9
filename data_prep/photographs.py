"""Prepare further photographs: high-resolution ones, products on models, everyday ones, textures, other sources.

    python -m data_prep photographs --output data/ [--high-resolution images-480.zip …] [--on-model on-model.zip]
        [--everyday everyday.zip] [--backgrounds backgrounds.zip] [--other-sources other-sources.zip]

Each argument is a folder or a zip of photographs in any subfolder. All are written with at most 400 pixels:
`data/high_resolution/images/<id>.jpg`; `data/everyday/SPLIT/*.jpg` and `data/backgrounds/SPLIT/*.jpg`;
`data/on_model/on_model.csv` and `data/other_sources/other_sources.csv`, each with `images/`.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from data_prep.__main__ import main
from data_prep.archive import Archive, prepared_name, replacing_files, save_image
from data_prep.splits import TEST, VALIDATION, hashed_split
from data_prep.tables import UNKNOWN, SourceError, read_table
from fashion_model.system import write_text

HIGH_RESOLUTION, ON_MODEL, EVERYDAY, BACKGROUNDS = "high_resolution", "on_model", "everyday", "backgrounds"
OTHER_SOURCES = "other_sources"
ASPECT_RATIO = 3 / 4  # width / height of the catalogue's photographs

# Published types and colors → accepted labels of the catalogue, best first.
TYPES = {
    "Bags": "Backpacks|Duffel Bag|Messenger Bag|Handbags|Laptop Bag|Mobile Pouch|Waist Pouch|Trolley Bag|Rucksacks",
    "Bra": "Bra|Camisoles|Tops",
    "Jackets": "Jackets|Sweatshirts|Rain Jacket|Sweaters",
    "Leggings/Capris": "Leggings|Capris|Tights|Track Pants",
    "Shorts": "Shorts",
    "Sweatshirts": "Sweatshirts|Jackets|Sweaters|Tshirts",
    "Tank top": "Tops|Tshirts|Innerwear Vests|Camisoles",
    "Track Pants": "Track Pants|Lounge Pants|Trousers",
    "Tshirts": "Tshirts|Tops",
    "Watches": "Watches",
}
COLORS = {
    "black": "Black|Charcoal",
    "blue": "Blue|Navy Blue|Turquoise Blue|Teal",
    "brown": "Brown|Coffee Brown|Tan|Khaki",
    "gray": "Grey|Grey Melange|Charcoal|Silver|Steel",
    "grey": "Grey|Grey Melange|Charcoal|Silver|Steel",
    "green": "Green|Olive|Lime Green|Sea Green|Turquoise Blue|Fluorescent Green",
    "lavender": "Lavender|Purple|Mauve",
    "orange": "Orange|Mustard|Peach|Rust",
    "purple": "Purple|Lavender|Mauve|Magenta",
    "red": "Red|Pink|Maroon|Peach|Magenta",
    "white": "White|Off White|Cream",
    "yellow": "Yellow|Mustard|Lime Green|Fluorescent Green",
}
HELD_OUT_TYPES = ("Bags", "Watches")  # too few to train on; all are in the test split
# The name to write each photograph as, with its archive and path; how many there are of each split or source; a table.
Read = tuple[dict[str, tuple[Archive, str]], Counter[str], pd.DataFrame | None]


@dataclass(frozen=True)
class Config:
    output: Path  # The data folder.
    high_resolution: tuple[Path, ...] = ()
    """`<id>.jpg` of catalogue products; a product is read from the first source that has it."""
    on_model: Path | None = None  # Studio photographs with a table `on-model.csv` (columns file, type, color, gender).
    everyday: Path | None = None  # `SOURCE-NUMBER.jpg` without fashion products.
    backgrounds: Path | None = None  # Textures.
    other_sources: Path | None = None
    """Photographs for validation only, with a table `other-sources.csv` (columns image; category, a product type of the
    catalogue, empty where there is no fashion product; gender; source)."""


def run(config: Config) -> None:
    readers = {
        HIGH_RESOLUTION: read_high_resolution,
        ON_MODEL: read_on_model,
        EVERYDAY: read_splits,
        BACKGROUNDS: read_splits,
        OTHER_SOURCES: read_other_sources,
    }
    given = {name: sources for name in readers if (sources := getattr(config, name))}
    if not given:
        raise SourceError("no source is given, such as --everyday everyday.zip")
    for name, sources in given.items():
        archives = [Archive(source, config.output) for source in (sources if isinstance(sources, tuple) else [sources])]
        images, counts, table = readers[name](*archives)
        folder, names = config.output / name, [*images, *([] if table is None else [f"{name}.csv"])]
        with replacing_files(folder, names, [file for archive in archives for file in archive.files()]):
            for file, (archive, path) in tqdm(images.items(), desc=name, unit="image", disable=None):
                image = archive.image(path)
                save_image(restore_aspect_ratio(image) if name == HIGH_RESOLUTION else image, folder / file)
            if table is not None:
                write_text(folder / f"{name}.csv", table.to_csv(index=False))
        print(f"{name}: " + ", ".join(f"{count:,} {key}" for key, count in counts.items()))
        for archive in archives:
            archive.print_passed_over()


def restore_aspect_ratio(image: Image.Image) -> Image.Image:
    """Resize a square image to 3:4 at the same height; return others unchanged.

    Some published copies of the catalogue are resized to a square, which distorts the products.
    """
    if image.width != image.height:
        return image
    return image.resize((max(1, round(image.height * ASPECT_RATIO)), image.height), Image.Resampling.LANCZOS)


def read_high_resolution(*archives: Archive) -> Read:
    """One image a product, counted by source. SourceError for a source without `<id>.jpg`."""
    chosen: dict[str, tuple[Archive, str]] = {}
    for archive in archives:
        paths = {name: path for name, path in archive.photographs().items() if re.fullmatch(r"[0-9]+\.jpg", name)}
        if not paths:
            raise SourceError(f"{archive.path} holds no <id>.jpg")
        for name, path in paths.items():
            chosen.setdefault(f"images/{name}", (archive, path))
    return chosen, Counter(archive.path.name for archive, _ in chosen.values()), None


def read_on_model(archive: Archive) -> Read:
    """All images of a style are in the same split; the style of `mb01-blue-0.jpg` is `mb01`.

    SourceError if the table or an image is missing or unusable.
    """
    table, paths = _published(archive, "on-model.csv", ("file", "type", "color", "gender"))
    unknown = table[~table["type"].isin(TYPES)]
    if not unknown.empty:
        row = unknown.iloc[0]
        raise SourceError(f"{archive.path}: on-model.csv, row {row.name}: {row['type']!r} is none of {sorted(TYPES)}")
    table["style"] = table["image"].str.split("-").str[0]
    table["colors"] = [COLORS.get(color, UNKNOWN) for color in table["color"]]
    table["product_types"] = table["type"].map(TYPES)
    table["genders"] = table["gender"].replace("", UNKNOWN)
    table["split"] = [hashed_split(f"style {style}", held_out=0.1) for style in table["style"]]
    table.loc[table["type"].isin(HELD_OUT_TYPES), "split"] = TEST
    columns = ["image", "style", "type", "colors", "product_types", "genders", "split"]
    return paths, Counter(table["split"]), table[columns]


def read_other_sources(archive: Archive) -> Read:
    """`product_types` is empty where the image shows no fashion product; an unknown gender is `?`.

    SourceError if the table or an image is missing or unusable.
    """
    table, paths = _published(archive, "other-sources.csv", ("image", "category", "gender", "source"))
    table["genders"] = table["gender"].replace(["", "-"], UNKNOWN)
    table = table.rename(columns={"category": "product_types"}).assign(split=VALIDATION)
    return paths, Counter(table["split"]), table[["image", "source", "product_types", "genders", "split"]]


def _published(
    archive: Archive, name: str, columns: tuple[str, ...]
) -> tuple[pd.DataFrame, dict[str, tuple[Archive, str]]]:
    """A table whose first column names photographs, and these; the column `image` has their prepared names.

    SourceError if the table is missing or damaged, or one of its photographs is missing or named twice.
    """
    sentence = f"{archive.path}: {name}"
    table, paths = read_table(archive.read(archive.find(name)), sentence, columns), archive.photographs()
    names = table[columns[0]].map(prepared_name)
    for wrong, reason in ((~names.isin(list(paths)), "is missing"), (names.duplicated(), "is named twice")):
        if wrong.any():
            row = table[wrong].iloc[0]
            raise SourceError(f"{sentence}, row {row.name}: the photograph {row[columns[0]]!r} {reason}")
    return table.assign(image=names), {f"images/{image}": (archive, paths[image]) for image in names}


def read_splits(archive: Archive) -> Read:
    """SourceError if there are no images."""
    paths = archive.photographs()
    if not paths:
        raise SourceError(f"{archive.path} holds no images")
    splits = {name: hashed_split(source_group(name)) for name in paths}
    return {f"{splits[name]}/{name}": (archive, paths[name]) for name in paths}, Counter(splits.values()), None


def source_group(name: str) -> str:
    """The file name with its number divided by 20.

    Consecutive images often show the same object or scene, so images with the same result are in the same split.
    """
    return re.sub(r"[0-9]+(?=\.jpg$)", lambda number: str(int(number[0]) // 20), name)


if __name__ == "__main__":
    sys.exit(main(["photographs", *sys.argv[1:]]))
