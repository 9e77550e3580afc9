"""Prepare further photographs: high-resolution ones, products on models, everyday ones, background textures.

    python -m data_prep.photographs --output data/ [--high-resolution images-480.zip …] [--on-model on-model.zip]
        [--everyday everyday.zip] [--backgrounds backgrounds.zip]

Each argument is a folder or a zip of JPEG files.
--high-resolution: `<id>.jpg` of catalogue products; a product is read from the first source that has it.
--on-model: studio photographs with a table `on-model.csv` (columns file, type, color, gender).
--everyday: `SOURCE-NUMBER.jpg` without fashion products.
--backgrounds: textures.

Writes `data/high_resolution/images/<id>.jpg`, `data/on_model/on_model.csv` and its `images/`,
`data/everyday/SPLIT/*.jpg` and `data/backgrounds/SPLIT/*.jpg`, of at most 400 pixels.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from data_prep.archive import MAX_SIDE, Archive, delete_images, save_image
from data_prep.source import SourceError
from data_prep.splits import TEST, TRAIN, VALIDATION, hashed_split
from fashion_model.console import exit_with, sentence_of
from fashion_model.files import write_text

HIGH_RESOLUTION, ON_MODEL, EVERYDAY, BACKGROUNDS = "high_resolution", "on_model", "everyday", "backgrounds"
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


def restore_aspect_ratio(image: Image.Image) -> Image.Image:
    """Resize a square image to 3:4 at the same height; return others unchanged.

    Some published copies of the catalogue are resized to a square, which distorts the products.
    """
    if image.width != image.height:
        return image
    return image.resize((round(image.height * ASPECT_RATIO), image.height), Image.Resampling.LANCZOS)


def write_high_resolution(sources: Sequence[Path], output: Path) -> dict[str, int]:
    """Write one image per product. Returns the number from each source. SourceError for a source without `<id>.jpg`."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    delete_images(output / HIGH_RESOLUTION / "images")
    for source in sources:
        archive = Archive(source)
        names = [name for name in archive if re.fullmatch(r"[0-9]+\.jpg", name)]
        if not names:
            raise SourceError(f"{source} holds no <id>.jpg")
        for name in tqdm([n for n in names if n not in seen], desc=source.name, unit="image", disable=None):
            image = restore_aspect_ratio(archive.image(name, MAX_SIDE))
            save_image(image, output / HIGH_RESOLUTION / "images" / name)
            counts[source.name] += 1
        seen.update(names)
    return dict(counts)


def write_on_model(source: Path, output: Path) -> dict[str, int]:
    """Write the images and their table. Returns the number of images in each split.

    All images of a style are in the same split; the style of `mb01-blue-0.jpg` is `mb01`. Labels are accepted labels,
    separated by `|`, or `?` if unknown. SourceError if the table or an image is missing or unusable.
    """
    archive = Archive(source)
    published = _published(source, archive.text("on-model.csv"))
    rows = []
    delete_images(output / ON_MODEL / "images")
    for row in tqdm(published.to_dict("records"), desc=source.name, unit="image", disable=None):
        name = Path(row["file"]).name
        style = name.split("-")[0]
        split = TEST if row["type"] in HELD_OUT_TYPES else hashed_split(f"style {style}", held_out=0.1)
        labels = {"colors": COLORS.get(row["color"], "?"), "product_types": TYPES[row["type"]]}
        rows.append(
            {
                "image": name,
                "style": style,
                "type": row["type"],
                **labels,
                "genders": row["gender"] or "?",
                "split": split,
            }
        )
        save_image(archive.image(name, MAX_SIDE), output / ON_MODEL / "images" / name)
    table = pd.DataFrame(rows)
    write_text(output / ON_MODEL / f"{ON_MODEL}.csv", table.to_csv(index=False))
    return table["split"].value_counts().to_dict()


def _published(source: Path, text: str) -> pd.DataFrame:
    """The rows of on-model.csv. SourceError if a column is missing, there are no rows, or a type is not in TYPES."""
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise SourceError(f"{source}: on-model.csv is no table: {error}") from error
    missing = {"file", "type", "color", "gender"} - set(table)
    if missing or table.empty:
        raise SourceError(f"{source}: on-model.csv has no rows, or lacks columns: {sorted(missing)}")
    unknown = set(table["type"]) - set(TYPES)
    if unknown:
        raise SourceError(f"{source}: on-model.csv has the types {sorted(unknown)}, which have no accepted labels")
    return table


def write_photographs(source: Path, folder: Path) -> dict[str, int]:
    """Write the images to `folder`/SPLIT/. Returns the number in each split. SourceError if there are none."""
    archive = Archive(source)
    counts: Counter[str] = Counter()
    for split in (TRAIN, VALIDATION, TEST):
        delete_images(folder / split)
    names = [name for name in archive if name.endswith(".jpg") and not name.startswith("._")]  # macOS metadata
    for name in tqdm(names, desc=source.name, unit="image", disable=None):
        split = hashed_split(source_group(name))
        save_image(archive.image(name, MAX_SIDE), folder / split / name)
        counts[split] += 1
    if not counts:
        raise SourceError(f"{source} holds no images")
    return dict(counts)


def source_group(name: str) -> str:
    """The file name with its number divided by 20.

    Consecutive images often show the same object or scene, so images with the same result are in the same split.
    """
    return re.sub(r"[0-9]+(?=\.jpg$)", lambda number: str(int(number[0]) // 20), name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.photographs", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    parser.add_argument("--high-resolution", type=Path, nargs="+", default=[], metavar="FOLDER_OR_ZIP")
    for name in (ON_MODEL, EVERYDAY, BACKGROUNDS):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="FOLDER_OR_ZIP")
    options = parser.parse_args(arguments)
    try:
        counts = {}
        if options.high_resolution:
            counts[HIGH_RESOLUTION] = write_high_resolution(options.high_resolution, options.output)
        if options.on_model:
            counts[ON_MODEL] = write_on_model(options.on_model, options.output)
        for name in (EVERYDAY, BACKGROUNDS):
            if source := getattr(options, name):
                counts[name] = write_photographs(source, options.output / name)
    except (SourceError, OSError) as error:
        print(f"photographs: {sentence_of(error)}", file=sys.stderr)
        return 2
    for name, of_name in counts.items():
        print(f"{name}: " + ", ".join(f"{count:,} {key}" for key, count in of_name.items()))
    return 0


if __name__ == "__main__":
    exit_with(main)
