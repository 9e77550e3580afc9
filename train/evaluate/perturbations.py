"""Perturbations of high-resolution photographs, and copies of them as they circulate on the web."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

from data_prep.duplicates import THUMBNAIL
from fashion_model.transforms import jpeg
from train.data.foreground import product_mask

Perturbation = Callable[[Image.Image, int], Image.Image]  # photograph, product id → photograph


def downsampled(photograph: Image.Image, product: int) -> Image.Image:
    """60×80 pixels, as the catalogue's thumbnails, but not compressed."""
    return photograph.resize(THUMBNAIL, Image.Resampling.LANCZOS)


def jpeg30(photograph: Image.Image, product: int) -> Image.Image:
    return jpeg(photograph, 30)


def rotated(photograph: Image.Image, product: int) -> Image.Image:
    """By 7° to the left or right."""
    angle = 7 if product % 2 else -7
    return photograph.rotate(angle, Image.Resampling.BICUBIC, fillcolor="white")


def cropped(photograph: Image.Image, product: int) -> Image.Image:
    """Without a tenth of width and height, half of it on each side."""
    x, y = round(photograph.width * 0.05), round(photograph.height * 0.05)
    return photograph.crop((x, y, photograph.width - x, photograph.height - y))


def darker(photograph: Image.Image, product: int) -> Image.Image:
    return ImageEnhance.Brightness(photograph).enhance(0.75)


def warmer(photograph: Image.Image, product: int) -> Image.Image:
    """Wrong white balance: red +5 %, blue −15 %."""
    gains = np.array([1.05, 1.0, 0.85])
    return Image.fromarray(np.clip(np.asarray(photograph) * gains, 0, 255).astype(np.uint8))


def on_background(photograph: Image.Image, background: Image.Image, mask: np.ndarray | None = None) -> Image.Image:
    """The product on `background`, an image of the same size; by `mask` (H, W), or else `product_mask`.

    ValueError if there is no mask.
    """
    mask = product_mask(photograph) if mask is None else mask
    if mask is None:
        raise ValueError("the photograph has no plain white background")
    return Image.composite(photograph, background, Image.fromarray(mask))


def on_color(photograph: Image.Image, product: int) -> Image.Image:
    """On a plain color that depends on the product's id."""
    color = tuple(int(c) for c in np.random.default_rng(product).integers(40, 216, 3))
    return on_background(photograph, Image.new("RGB", photograph.size, color))


def on_clutter(photograph: Image.Image, product: int) -> Image.Image:
    """On forty blurred rectangles of random place, size and color."""
    random = np.random.default_rng(product)
    pixels = np.full((photograph.height, photograph.width, 3), random.integers(60, 200, 3), dtype=np.uint8)
    for x, y, width, height in random.random((40, 4)):
        left, top = int(x * photograph.width), int(y * photograph.height)
        right, bottom = left + int(width * photograph.width / 3) + 1, top + int(height * photograph.height / 3) + 1
        pixels[top:bottom, left:right] = random.integers(0, 256, 3)
    blurred = ndimage.gaussian_filter(pixels, (photograph.height / 120, photograph.height / 120, 0))
    return on_background(photograph, Image.fromarray(blurred))


# The prediction should stay the same.
COPIES: dict[str, Perturbation] = {"downsampled": downsampled, "jpeg30": jpeg30}
# The prediction should stay right.
PERTURBATIONS: dict[str, Perturbation] = {
    "rotated": rotated,
    "cropped": cropped,
    "darker": darker,
    "warmer": warmer,
    "on_color": on_color,
    "on_clutter": on_clutter,
}
NEED_MASK = ("on_color", "on_clutter")  # the product has to be separable from a white background
