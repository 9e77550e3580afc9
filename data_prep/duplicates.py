"""Which photographs are the same picture, exactly or nearly.

Two photographs count as the same if their difference hashes (16 × 16 = 256 bits) differ in at most 16 bits and their
pixels by less than 2 levels of 255 on average. A hash alone is too coarse for products on white: at equal 64-bit hashes
stand different earrings, at distance 4 thousands of shirts; pixels alone join slim things that hardly cover the white.
Groups are the connected components, so they do not depend on the order of the rows.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

HASH_SIDE = 16
BRIGHTER = 3  # levels of 255; below lies the noise that compression leaves on a white background
SAME_BITS, SAME_LEVELS = 16, 2.0
THUMBNAIL = (60, 80)  # width, height


def difference_hash(image: Image.Image) -> np.ndarray:
    """256 bits as (4,) uint64: is each cell of a 17 × 16 gray miniature clearly brighter than its left neighbour?"""
    gray = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    levels = np.asarray(gray, dtype=np.int16)
    return np.packbits(levels[:, 1:] > levels[:, :-1] + BRIGHTER).view(np.uint64)


def thumbnail(image: Image.Image) -> np.ndarray:
    """(80, 60, 3) uint8."""
    return np.asarray(image if image.size == THUMBNAIL else image.resize(THUMBNAIL, Image.Resampling.BOX))


def same_picture_groups(hashes: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """hashes (N, 4) uint64, thumbnails (N, 80, 60, 3) uint8 → (N,) group numbers. 41,472 pictures take a minute."""
    first, second = [], []
    for start in range(0, len(hashes), 256):
        block = hashes[start : start + 256, None, :]  # (B, 1, 4)
        bits = np.bitwise_count(block ^ hashes[None]).sum(axis=2, dtype=np.uint16)  # (B, N)
        a, b = np.nonzero(bits <= SAME_BITS)
        for i, j in zip(a + start, b, strict=True):
            if i < j and _difference(thumbnails[i], thumbnails[j]) < SAME_LEVELS:
                first.append(i)
                second.append(j)
    size = (len(hashes), len(hashes))
    pairs = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=size)
    return connected_components(pairs, directed=False)[1]


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())
