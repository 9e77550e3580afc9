"""The overlay: a map of the network's evidence, in color over the photograph in gray."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageOps

OPACITY = 0.7  # of the color at the maximum of the map; at its minimum the photograph stays gray
GRAY_RANGE = (90, 225)  # what black and white of the photograph become, so that all color comes from the map
# Perceptually uniform, and readable by the color-blind. RGB.
PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]


def backdrop(photograph: Image.Image) -> Image.Image:
    """The photograph in gray, of mode L; every overlay lies on it."""
    low, high = GRAY_RANGE
    return ImageOps.grayscale(photograph).point([low + v * (high - low) // 255 for v in range(256)])


def color_layer(values: Image.Image) -> Image.Image:
    """A gray image of map values → the palette's colors, of mode P; the alpha of a pixel is its value.

    Laid over `backdrop` with an opacity, it gives what `overlay` draws.
    """
    colors = values.copy()
    colors.putpalette(PALETTE.tobytes())
    colors.info["transparency"] = bytes(range(256))
    return colors


def overlay(ground: Image.Image, values: Image.Image, opacity: float = OPACITY) -> Image.Image:
    """Blend `values`, a gray image, over `ground`, the photograph's `backdrop`, in the palette's colors.

    The alpha of each pixel is its value times `opacity`. ValueError for an opacity outside [0, 1].
    """
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must be from 0 to 1; it is {opacity!r}")
    heat, alpha = np.asarray(values), np.rint(np.arange(256) * opacity)
    colors = np.rint(PALETTE * alpha[:, None] / 255).astype(np.uint8)[:, None]  # (256, 1, 3)
    ground_left = cv2.LUT(heat, (255 - alpha).astype(np.uint8))
    dimmed = cv2.cvtColor(cv2.multiply(np.asarray(ground), ground_left, scale=1 / 255), cv2.COLOR_GRAY2RGB)
    return Image.fromarray(cv2.add(cv2.applyColorMap(heat, colors), dimmed))
