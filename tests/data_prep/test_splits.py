import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from data_prep.splits import difference_hash, hashed_split, miniature, same_picture_groups, split_column
from fashion_model.images import open_image
from tests.conftest import PRODUCTS
from tests.corpus import saved

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())]


def test_splits_are_stratified_and_keep_groups():
    sizes = {"Many": 1000, "Some": 30, "Few": 3, "Pair": 2, "Twins": 40, "Three twins": 6}
    rows = [(f"{name} {i // (1 + name.endswith('wins'))}", name) for name in sizes for i in range(sizes[name])]
    table = pd.DataFrame(rows, columns=["group", "articleType"])  # two rows a group of twins
    table["split"] = split_column(table)
    counts = pd.crosstab(table["articleType"], table["split"])[["train", "validation", "test"]]
    assert counts.T.to_dict("list") == {
        "Many": [800, 100, 100],
        "Some": [24, 3, 3],
        "Few": [1, 1, 1],
        "Pair": [2, 0, 0],
        "Twins": [32, 4, 4],
        "Three twins": [2, 2, 2],
    }
    assert (table.groupby("group")["split"].nunique() == 1).all()
    shuffled = table.sample(frac=1, random_state=3)
    assert split_column(shuffled).sort_index().equals(table["split"])


def test_hashed_splits_never_change():
    """Other splits would train on photographs that the embedded default is measured on."""
    senders = {"8": "test", "124": "train", "148": "train", "94": "train", "43": "train", "262": "test"}
    assert {sender: hashed_split(f"contributor {sender}") for sender in senders} == senders


def jpeg(image, quality):
    return open_image(saved(image, "JPEG", quality=quality))


@pytest.mark.parametrize(
    "again",
    [
        lambda image: jpeg(image, 60),
        lambda image: image.resize((180, 240), Image.Resampling.LANCZOS),
        lambda image: jpeg(image.resize((240, 320), Image.Resampling.BICUBIC), 90),
    ],
)
def test_resaved_images_are_duplicates(again):
    products = [image for image in PHOTOGRAPHS if image.size == (60, 80)][::6]
    pictures = [p for image in products for p in (image, again(image), ImageOps.mirror(again(image)))]
    groups = same_picture_groups(
        np.stack([difference_hash(p) for p in pictures]), np.stack([miniature(p) for p in pictures])
    ).reshape(-1, 3)
    assert (groups[:, 0] == groups[:, 1]).mean() >= 0.8
    assert len(set(groups[:, 0])) == len(products)  # and none is another product
    assert (groups[:, 0] != groups[:, 2]).mean() >= 0.8  # some products are symmetric
