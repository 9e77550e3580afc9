"""Which photographs are the same picture, exactly or nearly.

Two photographs count as the same if their difference hashes (16 × 16 = 256 bits) differ in at most 16 bits and, shrunk
to 30 × 40, their colors by less than 8 % of their ink. A hash alone is too coarse for products on white:
at equal 64-bit hashes stand different earrings, at distance 4 thousands of shirts; and a plain difference of pixels
joins whatever hardly covers the white.
Groups are the connected components, so they do not depend on the order of the rows.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

HASH_SIDE = 16
BRIGHTER = 3  # levels of 255; below lies the noise that compression leaves on a white background
SAME_BITS, SAME_INK = 16, 0.08
MINIATURE = (30, 40)  # width, height; small enough to blur what compression adds
THUMBNAIL = (60, 80)  # width, height of the catalogue's photographs


def difference_hash(image: Image.Image) -> np.ndarray:
    """256 bits as (4,) uint64: is each cell of a 17 × 16 gray miniature clearly brighter than its left neighbour?"""
    gray = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    levels = np.asarray(gray, dtype=np.int16)
    return np.packbits(levels[:, 1:] > levels[:, :-1] + BRIGHTER).view(np.uint64)


def miniature(image: Image.Image) -> np.ndarray:
    """(40, 30, 3) uint8."""
    if image.size != THUMBNAIL:
        image = image.resize(THUMBNAIL, Image.Resampling.BOX)
    return np.asarray(image.resize(MINIATURE, Image.Resampling.BOX))


def same_picture_groups(hashes: np.ndarray, miniatures: np.ndarray) -> np.ndarray:
    """hashes (N, 4) uint64, miniatures (N, 40, 30, 3) uint8 → (N,) group numbers. 41,472 pictures take a minute."""
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, len(hashes), 256):
        block = hashes[start : start + 256, None, :]  # (B, 1, 4)
        bits = np.bitwise_count(block ^ hashes[None]).sum(axis=2, dtype=np.uint16)  # (B, N)
        first, second = np.nonzero(bits <= SAME_BITS)
        first, second = first[first + start < second] + start, second[first + start < second]
        for part in range(0, len(first), 4096):
            a, b = first[part : part + 4096], second[part : part + 4096]
            same = ink_difference(miniatures[a], miniatures[b]) < SAME_INK
            pairs.append(np.stack([a[same], b[same]]))
    first, second = np.concatenate(pairs, axis=1)
    size = (len(hashes), len(hashes))
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=size)
    return connected_components(graph, directed=False)[1]


def ink_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Miniatures (M, 40, 30, 3) → (M,) mean difference over the mean ink, the darker one's at each place."""
    a, b = a.astype(np.int16), b.astype(np.int16)
    difference = np.abs(a - b).mean(axis=(1, 2, 3))
    return difference / (np.maximum(255 - a, 255 - b).mean(axis=(1, 2, 3)) + 1)
