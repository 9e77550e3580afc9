"""Collect negatives, images without fashion products: photographs, crops of them, and synthetic images.

    python -m data_prep.negatives --output data/negatives [--photographs FOLDER …]

Photographs come from installed Python packages: scikit-image for validation, scikit-learn and gradio for test.
`--photographs`: folders with more photographs for test, without clothes, for example
/usr/share/backgrounds/mate/nature of Debian's package mate-backgrounds. Synthetic images are screenshots, documents,
charts, noise and blank images. They are drawn by the same functions in all splits; train has no other images. Writes
`data/negatives/SPLIT/KIND-*.jpg`. Half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.archive import save_image
from data_prep.splits import TEST, TRAIN, VALIDATION
from fashion_model.console import exit_with, sentence_of
from fashion_model.images import ImageError, open_image

# Split, package, folder in the package, file names. Portraits (astronaut, camera) are left out: they show clothes.
PACKAGED = (
    (
        VALIDATION,
        "skimage",
        "data",
        "brick.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png gravel.png horse.png "
        "hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg",
    ),
    (TEST, "sklearn", "datasets/images", "china.jpg flower.jpg"),
    (TEST, "gradio", "media_assets/images", "cheetah.jpg groot.jpeg lion.jpg tower.jpg"),
)
FOLDER = "negatives"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
CROPS = 5  # per photograph
DRAWN = 40  # per kind and split
MAX_SIDE = 1024  # pixels

Painter = Callable[[np.random.Generator], Image.Image]


def find_photographs(split: str, folders: list[Path]) -> Iterator[tuple[str, Image.Image]]:
    """Names and images of the photographs of a split. ImageError if one is unreadable or a package is missing."""
    for package, folder, names in [rest for of_split, *rest in PACKAGED if of_split == split]:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise ImageError(f"the package {package} is not installed; requirements-dev.txt brings it")
        for name in names.split():
            path = Path(found.origin).parent / folder / name
            yield f"{package}-{path.stem}", _open(path)
    for folder in folders if split == TEST else []:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield f"folder-{path.stem}", _open(path)


def _open(path: Path) -> Image.Image:
    try:
        return open_image(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def crops(photograph: Image.Image, random: np.random.Generator) -> Iterator[Image.Image]:
    """Random crops with the catalogue's aspect ratio of 3:4, 25 to 75 % as high as the largest possible one."""
    for _ in range(CROPS):
        height = min(photograph.height, photograph.width * 4 / 3) * random.uniform(0.25, 0.75)
        width = height * 3 / 4
        left, top = random.uniform(0, photograph.width - width), random.uniform(0, photograph.height - height)
        yield photograph.crop((round(left), round(top), round(left + width), round(top + height)))


def screenshot(random: np.random.Generator) -> Image.Image:
    """A desktop or a phone screen with up to four windows of text."""
    size = (1280, 800) if random.random() < 0.5 else (480, 960)
    image = Image.new("RGB", size, _color(random))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 5))):
        left, top = random.integers(0, size[0] // 2), random.integers(0, size[1] // 2)
        right, bottom = random.integers(left + 120, size[0]), random.integers(top + 120, size[1])
        dark = random.random() < 0.5
        draw.rectangle((left, top, right, bottom), (32, 34, 40) if dark else (250, 250, 250))
        draw.rectangle((left, top, right, top + 28), _color(random))
        draw.text((left + 10, top + 6), _words(random, 3), "white", ImageFont.load_default(14))
        for line in range(top + 44, bottom - 20, 24):
            text = _words(random, max(1, int((right - left) / 90)))
            draw.text((left + 14, line), text, "lightgray" if dark else "black", ImageFont.load_default(15))
        draw.rounded_rectangle((right - 100, bottom - 44, right - 14, bottom - 14), 8, _color(random))
    return image


def document(random: np.random.Generator) -> Image.Image:
    """A page of text with a title, sometimes with a table."""
    image = Image.new("RGB", (620, 877), (255, 255, int(random.integers(225, 256))))
    draw = ImageDraw.Draw(image)
    draw.text((60, 50), _words(random, 4).title(), "black", ImageFont.load_default(28))
    size = int(random.integers(11, 20))
    for line in range(110, int(random.integers(500, 820)), round(size * 1.5)):
        words = int(random.integers(3, 11)) if random.random() < 0.2 else 72 // size * 2
        draw.text((60, line), _words(random, words)[: 900 // size], "black", ImageFont.load_default(size))
    if random.random() < 0.3:
        for row in range(520, 800, 28):
            for column in range(60, 540, 120):
                draw.rectangle((column, row, column + 120, row + 28), outline="gray", fill="white")
                draw.text((column + 8, row + 6), str(random.integers(10_000)), "black", ImageFont.load_default(13))
    return image


def chart(random: np.random.Generator) -> Image.Image:
    """Bars or lines between two axes."""
    image = Image.new("RGB", (800, 600), "white")
    draw = ImageDraw.Draw(image)
    draw.line([(80, 40), (80, 540), (760, 540)], "black", 2)
    for series in range(int(random.integers(1, 4))):
        color, values = _color(random), 530 - 470 * random.random(12)
        if random.random() < 0.5:
            draw.line([(100 + 55 * i, v) for i, v in enumerate(values)], color, 4)
        else:
            for i, value in enumerate(values):
                left = 95 + 55 * i + 12 * series
                draw.rectangle((left, value, left + 11, 539), color)
    for i in range(6):
        draw.text((40, 530 - 96 * i), str(20 * i), "black", ImageFont.load_default(16))
    return image


def noise(random: np.random.Generator) -> Image.Image:
    """Color or gray noise with a grain of 1 to 64 pixels."""
    grain = 2 ** int(random.integers(0, 7))
    channels = 3 if random.random() < 0.5 else 1
    cells = random.integers(0, 256, (max(2, 640 // grain), max(2, 480 // grain), channels))
    pixels = np.broadcast_to(cells, (*cells.shape[:2], 3)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((480, 640), Image.Resampling.BICUBIC)


def blank(random: np.random.Generator) -> Image.Image:
    """One color, or a vertical gradient between two colors."""
    corners = np.array([_color(random), _color(random)], dtype=np.uint8)[:, None]
    if random.random() < 0.5:
        corners = corners[:1]
    if random.random() < 0.2:
        corners = np.full((1, 1, 3), random.choice([0, 128, 255]), dtype=np.uint8)
    return Image.fromarray(corners).resize((480, 640), Image.Resampling.BILINEAR)


PAINTERS: dict[str, Painter] = {
    "screenshot": screenshot,
    "document": document,
    "chart": chart,
    "noise": noise,
    "blank": blank,
}


def _color(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in random.integers(0, 256, 3))
    return red, green, blue


def _words(random: np.random.Generator, count: int) -> str:
    return " ".join("".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 10))) for _ in range(count))


def collect(output: Path, folders: list[Path]) -> dict[str, dict[str, int]]:
    """Write `output`/SPLIT/KIND-*.jpg. Returns the number of images of each kind in each split.

    Images of an earlier run are deleted. ImageError as for `find_photographs`.
    """
    counts: dict[str, dict[str, int]] = {}
    for number, split in enumerate((VALIDATION, TEST, TRAIN)):
        folder = output / split
        folder.mkdir(parents=True, exist_ok=True)
        count = counts[split] = dict.fromkeys(("photograph", "crop", *PAINTERS), 0)
        for kind in count:
            for stale in folder.glob(f"{kind}-*.jpg"):
                stale.unlink()
        random = np.random.default_rng(number)
        for position, (source, photograph) in enumerate(find_photographs(split, folders)):
            name = f"{position}-{source}"
            _save(photograph, folder / f"photograph-{name}.jpg")
            count["photograph"] += 1
            for i, crop in enumerate(crops(photograph, random)):
                _save(crop, folder / f"crop-{name}-{i}.jpg")
                count["crop"] += 1
        for kind, paint in PAINTERS.items():
            for i in range(DRAWN):
                _save(paint(random), folder / f"{kind}-{i}.jpg")
                count[kind] += 1
    return counts


def _save(image: Image.Image, path: Path) -> None:
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    save_image(image, path, quality=90)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.negatives", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write to; data/negatives")
    parser.add_argument(
        "--photographs", type=Path, nargs="*", default=[], metavar="FOLDER", help="more photographs for test"
    )
    options = parser.parse_args(arguments)
    try:
        counts = collect(options.output, options.photographs)
    except (ImageError, OSError) as error:
        print(f"negatives: {sentence_of(error)}", file=sys.stderr)
        return 2
    for split, count in counts.items():
        print(f"{split}: " + ", ".join(f"{number} {kind}s" for kind, number in count.items()))
    return 0


if __name__ == "__main__":
    exit_with(main)
