import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from tests.conftest import PRODUCTS, ROOT
from train.augment import RandomBackground, RandomLight, RandomReencode
from train.versions import product_mask

BAG = open_image(ROOT / "fashion_model" / "examples" / "2650.jpg").resize((60, 80), Image.Resampling.LANCZOS)
OTHERS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())[:5]]


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("augmentation", [RandomLight(), RandomBackground(OTHERS), RandomReencode()])
def test_an_augmentation_follows_the_seed_and_leaves_its_input_alone(augmentation):
    before = BAG.tobytes()
    drawn = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        drawn.append(augmentation(BAG))
    assert BAG.tobytes() == before
    assert drawn[0].mode == "RGB"
    assert drawn[0].tobytes() == drawn[2].tobytes() != before
    assert drawn[0].tobytes() != drawn[1].tobytes()


def test_another_background_leaves_the_product_as_it_is():
    mask = product_mask(BAG)
    for seed in range(12):
        torch.manual_seed(seed)
        version = pixels(RandomBackground(OTHERS)(BAG))
        assert (version[mask] == pixels(BAG)[mask]).all()
        assert (version[~mask] != pixels(BAG)[~mask]).any()


def test_a_product_that_cannot_be_told_from_its_background_keeps_it():
    dot = Image.new("RGB", (60, 80), "white")
    dot.paste((200, 0, 0), (25, 35, 41, 51))  # 5 % of the picture
    assert product_mask(dot) is not None
    gray = Image.new("RGB", (60, 80), "gray")
    for photograph in (dot, gray):
        torch.manual_seed(0)
        assert RandomBackground(OTHERS)(photograph).tobytes() == photograph.tobytes()


def test_another_lamp_keeps_within_its_bounds():
    for seed in range(20):
        torch.manual_seed(seed)
        lit = pixels(RandomLight()(Image.new("RGB", (2, 2), (150, 150, 150))))[0, 0]
        assert (lit >= int(150 * 0.6 * 0.88)).all()
        assert (lit <= 150 * 1.15 * 1.12).all()


def test_the_size_after_reencoding_varies():
    sizes = set()
    for seed in range(10):
        torch.manual_seed(seed)
        sizes.add(RandomReencode()(BAG).size)
    assert len(sizes) > 3
    assert all(42 <= width <= 78 for width, _ in sizes)
