"""Prepare further photographs: high-resolution ones, products on models, everyday ones, textures, other sources.

    python -m data_prep photographs --output data/ [--high-resolution images-480.zip …] [--on-model on-model.zip]
        [--everyday everyday.zip] [--backgrounds backgrounds.zip] [--other-sources other-sources.zip]

Each argument is a folder or a zip of photographs in any subfolder.
--high-resolution: `<id>.jpg` of catalogue products; a product is read from the first source that has it.
--on-model: studio photographs with a table `on-model.csv` (columns file, type, color, gender).
--everyday: `SOURCE-NUMBER.jpg` without fashion products.
--backgrounds: textures.
--other-sources: photographs for validation only, with a table `other-sources.csv` (columns image; category, a product
type of the catalogue, empty where there is no fashion product; gender; source).

Writes `data/high_resolution/images/<id>.jpg`; `data/everyday/SPLIT/*.jpg` and `data/backgrounds/SPLIT/*.jpg`;
`data/on_model/on_model.csv` and `data/other_sources/other_sources.csv`, each with `images/`; all of at most 400 pixels.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from data_prep.__main__ import main
from data_prep.archive import (
    Archive,
    prepared_name,
    print_passed_over,
    replacing_files,
    save_image,
    write_photographs,
)
from data_prep.splits import TEST, VALIDATION, hashed_split
from data_prep.tables import UNKNOWN, SourceError, read_table

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


@dataclass(frozen=True)
class Config:
    output: Path
    """The data folder."""
    high_resolution: tuple[Path, ...] = ()
    """Folders or zips of catalogue products."""
    on_model: Path | None = None
    """Folder or zip of studio photographs on models."""
    everyday: Path | None = None
    """Folder or zip of photographs without fashion products."""
    backgrounds: Path | None = None
    """Folder or zip of textures."""
    other_sources: Path | None = None
    """Folder or zip of photographs for validation only."""


def run(config: Config) -> None:
    if not any((config.high_resolution, config.on_model, config.everyday, config.backgrounds, config.other_sources)):
        raise SourceError("no source is given, such as --everyday everyday.zip")
    if config.high_resolution:
        archives = [Archive(source, config.output) for source in config.high_resolution]
        _report(HIGH_RESOLUTION, write_high_resolution(archives, config.output / HIGH_RESOLUTION), archives)
    for name, source, write in (
        (ON_MODEL, config.on_model, write_on_model),
        (EVERYDAY, config.everyday, write_splits),
        (BACKGROUNDS, config.backgrounds, write_splits),
        (OTHER_SOURCES, config.other_sources, write_other_sources),
    ):
        if source:
            archive = Archive(source, config.output)
            _report(name, write(archive, config.output / name), [archive])


def _report(name: str, counts: dict[str, int], archives: Sequence[Archive]) -> None:
    print(f"{name}: " + ", ".join(f"{count:,} {key}" for key, count in counts.items()))
    print_passed_over(archives)


def restore_aspect_ratio(image: Image.Image) -> Image.Image:
    """Resize a square image to 3:4 at the same height; return others unchanged.

    Some published copies of the catalogue are resized to a square, which distorts the products.
    """
    if image.width != image.height:
        return image
    return image.resize((max(1, round(image.height * ASPECT_RATIO)), image.height), Image.Resampling.LANCZOS)


def write_high_resolution(archives: Sequence[Archive], folder: Path) -> dict[str, int]:
    """Write one image a product. Returns the number from each source. SourceError for a source without `<id>.jpg`."""
    chosen: dict[str, tuple[Archive, str]] = {}
    for archive in archives:
        paths = {name: path for name, path in archive.photographs().items() if re.fullmatch(r"[0-9]+\.jpg", name)}
        if not paths:
            raise SourceError(f"{archive.path} holds no <id>.jpg")
        chosen |= {f"images/{name}": (archive, path) for name, path in paths.items() if f"images/{name}" not in chosen}
    with replacing_files(folder, chosen, [file for archive in archives for file in archive.files()]):
        for name, (archive, path) in tqdm(chosen.items(), desc=HIGH_RESOLUTION, unit="image", disable=None):
            save_image(restore_aspect_ratio(archive.image(path)), folder / name)
    return dict(Counter(archive.path.name for archive, _ in chosen.values()))


def write_on_model(archive: Archive, folder: Path) -> dict[str, int]:
    """Write the images and their table. Returns the number of images in each split.

    All images of a style are in the same split; the style of `mb01-blue-0.jpg` is `mb01`. Labels are accepted labels,
    separated by `|`, or `?` if unknown. SourceError if the table or an image is missing or unusable.
    """
    table, images = _published(archive, "on-model.csv", ("file", "type", "color", "gender"))
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
    return _write_labeled(archive, folder, images, table[columns])


def write_other_sources(archive: Archive, folder: Path) -> dict[str, int]:
    """Write the images and their table. Returns the number of images in each split, which is always validation.

    `product_types` is empty where the image shows no fashion product; an unknown gender is `?`. SourceError if the
    table or an image is missing or unusable.
    """
    table, images = _published(archive, "other-sources.csv", ("image", "category", "gender", "source"))
    table["genders"] = table["gender"].replace(["", "-"], UNKNOWN)
    table = table.rename(columns={"category": "product_types"}).assign(split=VALIDATION)
    return _write_labeled(archive, folder, images, table[["image", "source", "product_types", "genders", "split"]])


def _published(archive: Archive, name: str, columns: tuple[str, ...]) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table whose first column names photographs, and the path of each: the column `image` is its prepared name.

    SourceError if the table is missing or damaged, or one of its photographs is missing or named twice.
    """
    sentence = f"{archive.path}: {name}"
    table, paths = read_table(archive.read(archive.find(name)), sentence, columns), archive.photographs()
    names = table[columns[0]].map(prepared_name)
    for wrong, reason in ((~names.isin(list(paths)), "is missing"), (names.duplicated(), "is named twice")):
        if wrong.any():
            row = table[wrong].iloc[0]
            raise SourceError(f"{sentence}, row {row.name}: the photograph {row[columns[0]]!r} {reason}")
    return table.assign(image=names), paths


def _write_labeled(archive: Archive, folder: Path, paths: dict[str, str], table: pd.DataFrame) -> dict[str, int]:
    images = {f"images/{name}": paths[name] for name in table["image"]}
    write_photographs(archive, folder, images, {f"{folder.name}.csv": table.to_csv(index=False)})
    return table["split"].value_counts().to_dict()


def write_splits(archive: Archive, folder: Path) -> dict[str, int]:
    """Write the images to `folder`/SPLIT/. Returns the number in each split. SourceError if there are none."""
    paths = archive.photographs()
    if not paths:
        raise SourceError(f"{archive.path} holds no images")
    splits = {name: hashed_split(source_group(name)) for name in paths}
    write_photographs(archive, folder, {f"{splits[name]}/{name}": path for name, path in paths.items()}, {})
    return dict(Counter(splits.values()))


def source_group(name: str) -> str:
    """The file name with its number divided by 20.

    Consecutive images often show the same object or scene, so images with the same result are in the same split.
    """
    return re.sub(r"[0-9]+(?=\.jpg$)", lambda number: str(int(number[0]) // 20), name)


if __name__ == "__main__":
    sys.exit(main(["photographs", *sys.argv[1:]]))
