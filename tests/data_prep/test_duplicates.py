import numpy as np
import pytest
from PIL import Image, ImageOps

from data_prep.duplicates import difference_hash, miniature, same_picture_groups
from fashion_model.images import open_image
from tests.conftest import PRODUCTS
from tests.corpus import saved

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())]


def jpeg(image, quality):
    return open_image(saved(image, "JPEG", quality=quality))


@pytest.mark.parametrize(
    "again",
    [
        lambda image: jpeg(image, 75),
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
