"""Splits that do not depend on row order or a random generator, and images that have to be in one split.

The catalogue is split 80/10/10 into train, validation and test, stratified by product type. All images of a picture
group are in the same split. Groups are assigned in the order of the SHA-256 of their name. A product type with
fewer than three groups stays in train: the network can predict it, but it is not measured. The other data sets are
split by the SHA-256 of a name, for example of the contributor.

Two images are the same picture, as published or after resizing and recompression, if both hold:
- their difference hashes (dHash, 16 × 16 = 256 bits) differ in at most 16 bits,
- at 30 × 40 pixels, their colors differ by less than 8 % of their ink (see `ink_difference`).

The hash alone gives false positives for products on white: at 64 bits, different earrings have equal hashes, and at a
distance of 4 bits thousands of shirts match. A plain pixel difference merges all products that cover little of a white
background. Groups are connected components, so they do not depend on the order of the images.
"""

import hashlib

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SPLITS = TRAIN, VALIDATION, TEST = "train", "validation", "test"
HELD_OUT_SHARE = 0.1  # of the rows of a product type, for validation and for test each
SMALLEST_SPLITTABLE = 3  # groups

HASH_SIDE = 16
BRIGHTER = 3  # gray levels; smaller differences are compression noise on a white background
SAME_BITS, SAME_INK = 16, 0.08
MINIATURE = (30, 40)  # width, height; small enough to average out compression artifacts
THUMBNAIL = (60, 80)  # width, height of the catalogue's thumbnails


def split_column(table: pd.DataFrame) -> pd.Series:
    """The split of each row, with the index of `table`. `table` has the columns group and articleType."""
    rows = table.groupby(["group", "articleType"]).size().groupby("group")
    groups = pd.DataFrame({"rows": rows.sum(), "product_type": rows.idxmax().str[1]})  # the most frequent, then first
    groups["order"] = [hashlib.sha256(str(group).encode()).hexdigest() for group in groups.index]
    split_of_group = pd.concat(_assign(of_type) for _, of_type in groups.groupby("product_type"))
    return table["group"].map(split_of_group)


def _assign(groups: pd.DataFrame) -> pd.Series:
    """The splits of the groups of one product type.

    Test and validation take each group that still fits into their share of the rows, and at least one group.
    """
    splits = pd.Series(TRAIN, index=groups.index)
    if len(groups) < SMALLEST_SPLITTABLE:
        return splits
    quota = max(1, round(HELD_OUT_SHARE * groups["rows"].sum()))
    left = {TEST: quota, VALIDATION: quota}
    in_order = groups.sort_values("order")
    for group, rows in in_order["rows"].items():
        for split in left:
            if rows <= left[split]:
                splits[group] = split
                left[split] -= rows
                break
    for split in left:
        if split not in splits.to_numpy():
            splits[in_order.loc[splits == TRAIN, "rows"].idxmin()] = split
    return splits


def hashed_split(name: str, held_out: float = 0.15) -> str:
    """The split of `name` by its SHA-256. `held_out` is the share of validation and of test, each."""
    position = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 / 100
    return TRAIN if position < 1 - 2 * held_out else VALIDATION if position < 1 - held_out else TEST


def difference_hash(image: Image.Image) -> np.ndarray:
    """(4,) uint64: 256 bits, each set if a cell of the 17 × 16 gray image is brighter than its left neighbor."""
    gray = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    levels = np.asarray(gray, dtype=np.int16)
    return np.packbits(levels[:, 1:] > levels[:, :-1] + BRIGHTER).view(np.uint64)


def miniature(image: Image.Image) -> np.ndarray:
    """(40, 30, 3) uint8. Larger images pass through the thumbnails' size, so that both are blurred alike."""
    if image.size != THUMBNAIL:
        image = image.resize(THUMBNAIL, Image.Resampling.BOX)
    return np.asarray(image.resize(MINIATURE, Image.Resampling.BOX))


def same_picture_groups(hashes: np.ndarray, miniatures: np.ndarray) -> np.ndarray:
    """hashes (N, 4) uint64, miniatures (N, 40, 30, 3) uint8 → (N,) group numbers. One minute for 41,472 images."""
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
    """Miniatures (M, 40, 30, 3) → (M,): mean absolute difference, relative to the mean ink.

    Ink is 255 minus the value, for each pixel the larger of both images. Dividing by it makes small products comparable
    to those that fill the image.
    """
    a, b = a.astype(np.int16), b.astype(np.int16)
    difference = np.abs(a - b).mean(axis=(1, 2, 3))
    return difference / (np.maximum(255 - a, 255 - b).mean(axis=(1, 2, 3)) + 1)
