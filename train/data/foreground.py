"""Foreground masks: of catalogue photographs, which show products on white, and of everyday photographs."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

WHITE = 240  # minimum of all channels of the background, of 255
WHITE_LEVELS = (236, 252)  # range of that minimum in training
HALO = 16  # levels darker that JPEG compression makes the white around a thumbnail's product
MAX_THUMBNAIL_HEIGHT = 120  # pixels; images up to this height are enlarged
FOREGROUND_SHARE = (0.04, 0.9)  # of the pixels
GRABCUT_SIDE = 128  # pixels; for speed
MIN_WHITE_BORDER = 0.85  # share of the border's pixels that are background


def cut_out(image: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """An alpha matte for training: the image (H, W, 3), thumbnails enlarged, and its matte (H, W) uint8.

    The white level of the background is drawn at random, so that the network does not rely on the edges that one level
    leaves. None if the product is not surrounded by white.
    """
    level = int(random.integers(*WHITE_LEVELS))
    if image.shape[0] <= MAX_THUMBNAIL_HEIGHT:
        image, level = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), level - HALO
    white = (image.min(axis=2) >= level).astype(np.uint8)
    _, regions = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    if (border > 0).mean() < MIN_WHITE_BORDER:
        return None
    outside = np.zeros(regions.max() + 1, dtype=bool)
    outside[np.unique(border[border > 0])] = True
    product = (~outside[regions]).astype(np.uint8) * 255
    if not FOREGROUND_SHARE[0] <= product.mean() / 255 <= FOREGROUND_SHARE[1]:
        return None
    product = cv2.erode(product, np.ones((3, 3), np.uint8))  # the outermost pixels are mixed with white
    return image, cv2.GaussianBlur(product, (3, 3), 0)


def central_object(image: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """A rough matte (H, W) uint8 of what is in the middle of any photograph, by GrabCut (Rother et al., 2004).

    None if it finds hardly anything, or no ground around it.
    """
    height, width = image.shape[:2]
    scale = GRABCUT_SIDE / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    rows, columns = small.shape[:2]
    margin_x, margin_y = (max(2, round(side * random.uniform(0.05, 0.12))) for side in (columns, rows))
    mask = np.zeros((rows, columns), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(int(random.integers(2**31)))
    inside = (margin_x, margin_y, columns - 2 * margin_x, rows - 2 * margin_y)
    cv2.grabCut(small, mask, inside, *models, 2, cv2.GC_INIT_WITH_RECT)
    product = np.where((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)
    if not FOREGROUND_SHARE[0] <= product.mean() / 255 <= FOREGROUND_SHARE[1]:
        return None
    return cv2.resize(cv2.GaussianBlur(product, (3, 3), 0), (width, height), interpolation=cv2.INTER_LINEAR)


def product_mask(photograph: Image.Image) -> np.ndarray | None:
    """A mask for evaluation: (H, W) bool, True on the product. None if it is not surrounded by white.

    The background is the white connected with the border. It must cover nine tenths of the border, and the product 5 to
    90 % of the photograph.
    """
    white = np.asarray(photograph).min(axis=2) >= WHITE
    regions, _ = ndimage.label(white)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    background = np.isin(regions, np.unique(border[border > 0]))
    share = 1 - background.mean()
    return ~background if (border > 0).mean() >= 0.9 and 0.05 <= share <= 0.9 else None
