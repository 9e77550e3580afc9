"""Versions of one picture: the sharp photograph of a product, and what happens to photographs on their way here.

A person uploads a sharp photograph, a screenshot, a messenger's copy. An answer may not hang on which of them it was.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance
from scipy import ndimage

from data_prep.duplicates import THUMBNAIL
from fashion_model.images import ImageError, open_image
from fashion_model.transforms import jpeg
from train.dataset import DataError

SHAPE = 3 / 4  # width / height of the catalogue's photographs
PHOTOGRAPH = re.compile(r"(?:[^/]+/)?images/([0-9]+)\.(?:jpg|JPG)")
WHITE = 240  # of 255: no channel of the background is darker

Version = Callable[[Image.Image, int], Image.Image]  # photograph, product id → photograph


class SharpPhotographs:
    """The sharp photographs in `paths`, by product id: folders or zips with images/<id>.jpg or FOLDER/images/<id>.jpg.

    Where several have one product, the first path wins, in it the first of these. A square picture was squashed and
    gets its shape back.
    DataError for a path that is neither folder nor zip or holds none, or a photograph that is damaged.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths
        self._places: dict[int, tuple[Path, str]] = {}  # archive or folder, name in it
        self._archives: dict[tuple[int, Path], zipfile.ZipFile] = {}
        for path in paths:
            found = [match for name in self._names(path) if (match := PHOTOGRAPH.fullmatch(name))]
            if not found:
                raise DataError(f"{path} holds no images/<id>.jpg")
            for match in sorted(found, key=lambda match: (match[0].count("/"), match[0])):
                self._places.setdefault(int(match[1]), (path, match[0]))

    def sources(self, products: Iterable[int]) -> dict[str, int]:
        """Name of the zip or folder → how many of `products` have their photograph from there."""
        return dict(Counter(self._places[product][0].resolve().name for product in products))

    def among(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of `rows` whose product has a sharp photograph."""
        return rows[[product in self for product in rows["id"]]]

    def among_split(self, rows: pd.DataFrame, split: str) -> pd.DataFrame:
        """`among` the rows of a split. DataError if there is none."""
        found = self.among(rows)
        if found.empty:
            paths = ", ".join(map(str, self.paths))
            raise DataError(f"none of the {len(rows):,} products used of split {split!r} has a photograph in {paths}")
        return found

    def __contains__(self, product: int) -> bool:
        return product in self._places

    def __getitem__(self, product: int) -> Image.Image:
        path, name = self._places[product]
        try:
            photograph = open_image((path / name).read_bytes() if path.is_dir() else self._archive(path).read(name))
        except (ImageError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: {name}: {error}") from error
        if photograph.width != photograph.height:
            return photograph
        return photograph.resize((round(photograph.height * SHAPE), photograph.height), Image.Resampling.LANCZOS)

    def _names(self, path: Path) -> list[str]:
        if path.is_dir():
            return [
                f.relative_to(path).as_posix() for pattern in ("images/*", "*/images/*") for f in path.glob(pattern)
            ]
        try:
            return self._archive(path).namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is neither a folder nor a zip: {error}") from error

    def _archive(self, path: Path) -> zipfile.ZipFile:
        """One for each process: worker processes would move each other's place in a shared file."""
        key = (os.getpid(), path)
        if key not in self._archives:
            self._archives[key] = zipfile.ZipFile(path)
        return self._archives[key]


class VersionOf:
    """The sharp photographs of `products`, each as `make` leaves it."""

    def __init__(self, sharp: SharpPhotographs, products: Sequence[int], make: Version | None = None):
        self.sharp, self.products, self.make = sharp, products, make

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, index: int) -> Image.Image:
        product = self.products[index]
        photograph = self.sharp[product]
        return photograph if self.make is None else self.make(photograph, product)


def shrunk(photograph: Image.Image, product: int) -> Image.Image:
    """60×80 pixels, as the catalogue's thumbnails, but not compressed."""
    return photograph.resize(THUMBNAIL, Image.Resampling.LANCZOS)


def compressed(photograph: Image.Image, product: int) -> Image.Image:
    return jpeg(photograph, 30)


def rotated(photograph: Image.Image, product: int) -> Image.Image:
    """By 7°, to the left or to the right."""
    angle = 7 if product % 2 else -7
    return photograph.rotate(angle, Image.Resampling.BICUBIC, fillcolor="white")


def cropped(photograph: Image.Image, product: int) -> Image.Image:
    """A tenth of the width and of the height is cut off, half of it on each side."""
    x, y = round(photograph.width * 0.05), round(photograph.height * 0.05)
    return photograph.crop((x, y, photograph.width - x, photograph.height - y))


def darker(photograph: Image.Image, product: int) -> Image.Image:
    return ImageEnhance.Brightness(photograph).enhance(0.75)


def warmer(photograph: Image.Image, product: int) -> Image.Image:
    """White as under a warm lamp: red +5 %, blue −15 %."""
    gains = np.array([1.05, 1.0, 0.85])
    return Image.fromarray(np.clip(np.asarray(photograph) * gains, 0, 255).astype(np.uint8))


def product_mask(photograph: Image.Image) -> np.ndarray | None:
    """(H, W) bool, True on the product; None where no plain white background surrounds it.

    Background is the white that is connected with the border; it must make up nine tenths of the border's pixels, and
    the product between 5 and 90 % of the picture.
    """
    white = np.asarray(photograph).min(axis=2) >= WHITE
    regions, _ = ndimage.label(white)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    background = np.isin(regions, np.unique(border[border > 0]))
    share = 1 - background.mean()
    return ~background if (border > 0).mean() >= 0.9 and 0.05 <= share <= 0.9 else None


def on_background(photograph: Image.Image, background: Image.Image, mask: np.ndarray | None = None) -> Image.Image:
    """Its product, where `mask` (H, W) is True or `product_mask` finds it, over `background`, of the same size.

    ValueError where the product cannot be told from its background.
    """
    mask = product_mask(photograph) if mask is None else mask
    if mask is None:
        raise ValueError("the photograph has no plain white background")
    return Image.composite(photograph, background, Image.fromarray(mask))


def on_color(photograph: Image.Image, product: int) -> Image.Image:
    """A plain color of its own for each product."""
    color = tuple(int(c) for c in np.random.default_rng(product).integers(40, 216, 3))
    return on_background(photograph, Image.new("RGB", photograph.size, color))


def on_clutter(photograph: Image.Image, product: int) -> Image.Image:
    """Forty rectangles of random place, size and color, softened, as an untidy room would be out of focus."""
    random = np.random.default_rng(product)
    pixels = np.full((photograph.height, photograph.width, 3), random.integers(60, 200, 3), dtype=np.uint8)
    for x, y, width, height in random.random((40, 4)):
        left, top = int(x * photograph.width), int(y * photograph.height)
        right, bottom = left + int(width * photograph.width / 3) + 1, top + int(height * photograph.height / 3) + 1
        pixels[top:bottom, left:right] = random.integers(0, 256, 3)
    blurred = ndimage.gaussian_filter(pixels, (photograph.height / 120, photograph.height / 120, 0))
    return on_background(photograph, Image.fromarray(blurred))


# The same answer is expected from each of these as from the sharp photograph itself.
COPIES: dict[str, Version] = {"shrunk": shrunk, "jpeg30": compressed}
# From these, the right answer. The second value says whether the product has to be told from a white background.
DISTURBANCES: dict[str, tuple[Version, bool]] = {
    "rotated": (rotated, False),
    "cropped": (cropped, False),
    "darker": (darker, False),
    "warmer": (warmer, False),
    "on_color": (on_color, True),
    "on_clutter": (on_clutter, True),
}
