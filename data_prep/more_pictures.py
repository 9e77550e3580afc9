"""Pictures beside the catalogue's thumbnails: the same products larger, on models, no fashion at all, and grounds.

    python -m data_prep.more_pictures --output data/ [--sharp images-480.zip …] [--on-model on-model.zip]
        [--everyday everyday.zip] [--backgrounds backgrounds.zip]

Each argument is a folder or a zip. `--sharp`: `<id>.jpg` of the catalogue at a higher resolution, for each product from
the first that has it; square pictures were squashed and get their shape of 3:4 back. `--on-model`: studio photographs
with `on-model.csv` (file, type, color, gender). `--everyday`: `SOURCE-NAME.jpg`, pictures that show no fashion product.
`--backgrounds`: textures. Writes `data/sharp/images/`, `data/on_model/`, `data/everyday/SPLIT/` and
`data/backgrounds/SPLIT/`.
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

from data_prep.archive import Archive, empty_folder, save_picture
from data_prep.source import SourceError
from data_prep.splits import TEST, TRAIN, VALIDATION, hashed_split

SHARP, ON_MODEL, EVERYDAY, BACKGROUNDS = "sharp", "on_model", "everyday", "backgrounds"
LARGEST = 400  # pixels of a side
SHAPE = 3 / 4  # width / height of the catalogue's photographs

# The published types and colors → names of the catalogue that a fair judge accepts, best first.
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
NEVER_TRAINED_ON = ("Bags", "Watches")  # so few that they are all kept to measure


def write_sharp(sources: Sequence[Path], output: Path) -> dict[str, int]:
    """Returns how many each source gave. SourceError for one without `<id>.jpg`."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    empty_folder(output / SHARP / "images")
    for source in sources:
        archive = Archive(source)
        names = [name for name in archive if re.fullmatch(r"[0-9]+\.jpg", name)]
        if not names:
            raise SourceError(f"{source} holds no <id>.jpg")
        for name in tqdm([n for n in names if n not in seen], desc=source.name, unit="image", disable=None):
            picture = archive.picture(name, LARGEST)
            if picture.width == picture.height:
                picture = picture.resize((round(picture.height * SHAPE), picture.height), Image.Resampling.LANCZOS)
            save_picture(picture, output / SHARP / "images" / name)
            counts[source.name] += 1
        seen.update(names)
    return dict(counts)


def write_on_model(source: Path, output: Path) -> dict[str, int]:
    """Returns how many each split has. A style, `mb01` of `mb01-blue-0.jpg`, is on one side."""
    archive = Archive(source)
    published = _published(source, archive.text("on-model.csv"))
    rows = []
    empty_folder(output / ON_MODEL / "images")
    for row in tqdm(published.to_dict("records"), desc=source.name, unit="image", disable=None):
        name = Path(row["file"]).name
        style = name.split("-")[0]
        split = TEST if row["type"] in NEVER_TRAINED_ON else hashed_split(f"style {style}", held_out=0.1)
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
        save_picture(archive.picture(name, LARGEST), output / ON_MODEL / "images" / name)
    table = pd.DataFrame(rows)
    table.to_csv(output / ON_MODEL / f"{ON_MODEL}.csv", index=False)
    return table["split"].value_counts().to_dict()


def _published(source: Path, text: str) -> pd.DataFrame:
    """SourceError unless `text` is a table of pictures on models whose types are known."""
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise SourceError(f"{source}: on-model.csv is no table: {error}") from error
    missing = {"file", "type", "color", "gender"} - set(table)
    if missing or table.empty:
        raise SourceError(f"{source}: on-model.csv has no rows, or lacks columns: {sorted(missing)}")
    unknown = set(table["type"]) - set(TYPES)
    if unknown:
        raise SourceError(f"{source}: on-model.csv has the types {sorted(unknown)}, which no names are known for")
    return table


def write_pictures(source: Path, folder: Path) -> dict[str, int]:
    """All pictures of `source` to `folder`/SPLIT/. Returns how many each split has."""
    archive = Archive(source)
    counts: Counter[str] = Counter()
    for split in (TRAIN, VALIDATION, TEST):
        empty_folder(folder / split)
    names = [name for name in archive if name.endswith(".jpg") and not name.startswith("._")]  # those are of macOS
    for name in tqdm(names, desc=source.name, unit="image", disable=None):
        split = hashed_split(neighbourhood(name))
        save_picture(archive.picture(name, LARGEST), folder / split / name)
        counts[split] += 1
    if not counts:
        raise SourceError(f"{source} holds no pictures")
    return dict(counts)


def neighbourhood(name: str) -> str:
    """The name with its number in steps of twenty: neighbours often show the same thing, and share a split."""
    return re.sub(r"[0-9]+(?=\.jpg$)", lambda number: str(int(number[0]) // 20), name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.more_pictures", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    parser.add_argument("--sharp", type=Path, nargs="+", default=[], metavar="FOLDER_OR_ZIP")
    for name in (ON_MODEL, EVERYDAY, BACKGROUNDS):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="FOLDER_OR_ZIP")
    options = parser.parse_args(arguments)
    try:
        counts = {}
        if options.sharp:
            counts[SHARP] = write_sharp(options.sharp, options.output)
        if options.on_model:
            counts[ON_MODEL] = write_on_model(options.on_model, options.output)
        for name in (EVERYDAY, BACKGROUNDS):
            if source := getattr(options, name):
                counts[name] = write_pictures(source, options.output / name)
    except (SourceError, OSError) as error:
        print(f"more_pictures: {error}", file=sys.stderr)
        return 2
    for name, of_name in counts.items():
        print(f"{name}: " + ", ".join(f"{count:,} {key}" for key, count in of_name.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
