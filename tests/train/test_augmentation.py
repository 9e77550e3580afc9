import cv2
import numpy as np
import pytest
from PIL import Image

from fashion_model.images import open_image
from fashion_model.preprocessing import Preprocessing
from tests.conftest import PHONE, PRODUCTS, ROOT
from train.data import augmentation as aug

BAG = np.asarray(open_image(ROOT / "fashion_model" / "examples" / "2650.jpg"))
THUMBNAIL = np.asarray(open_image(PRODUCTS / "images" / "13146.jpg"))
PHOTOGRAPH = np.asarray(open_image(min(PHONE.glob("*.jpg"))))
SIZE = 96
RED, GREEN = (200, 30, 20), (20, 160, 60)
STRIPES = np.tile(np.uint8([0, 0, *[255] * 18]), 6)  # of two pixels: nothing is left of them without their edges


def seeded(seed=0):
    return np.random.default_rng(seed)


def square(side=60, size=(160, 120), ground=255):
    """A red square in the middle of an image of (height, width)."""
    image = np.full((*size, 3), ground, np.uint8)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    image[top : top + side, left : left + side] = RED
    return image


def test_what_is_not_white_around_is_cut_out():
    for photograph, scale in ((BAG, 1), (THUMBNAIL, 3)):  # thumbnails are enlarged
        image, alpha = aug.cut_out(photograph, seeded())
        assert image.shape == (scale * photograph.shape[0], scale * photograph.shape[1], 3)
        small = cv2.resize(alpha, photograph.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert ((small > 127) == (photograph.min(axis=2) < 240)).mean() > 0.9
    ring = square(side=80)
    ring[70:90, 50:70] = 255
    _, alpha = aug.cut_out(ring, seeded())
    assert (alpha[70:90, 50:70] == 255).all()  # white within a product belongs to it
    assert alpha[5, 5] == 0


@pytest.mark.parametrize(
    "image",
    [
        square(ground=150),
        square(side=16),  # 1 % of the image
        square(side=118, size=(120, 120)),  # 97 %
        np.dstack([np.pad(np.tile(STRIPES, (140, 1)), ((10, 10), (10, 0)), constant_values=255)] * 3),
        PHOTOGRAPH,
    ],
)
def test_product_not_on_white_is_not_cut_out(image):
    assert all(aug.cut_out(image, seeded(seed)) is None for seed in range(5))


def test_pasted_product_keeps_its_color():
    shapes, centres = set(), []
    for seed in range(60):
        random = seeded(seed)
        image, alpha = aug.cut_out(square(random.choice([30, 60, 100])), random)
        view = aug.paste_on_background(image, alpha, lambda *size: np.full((*size[:2], 3), GREEN), SIZE, random)
        view = view.astype(int)
        assert view[..., 2].max() <= 75  # white has 255 of blue
        product = view[..., 0] >= 0.98 * view[..., 0].max()
        assert product.mean() > 0.005
        gain = view[product].mean(axis=0) / RED
        assert gain[0] == pytest.approx(gain[1], abs=0.1) == pytest.approx(gain[2], abs=0.15)
        assert 0.73 < gain[0] < 1.12
        ground = view[..., 1] > 3 * view[..., 0]  # maybe in the product's shadow
        assert ground.mean() > 0.05
        shapes.add(view.shape[:2])
        centres.append([positions.mean() / SIZE for positions in np.nonzero(product)])
    assert shapes == {(SIZE, SIZE), (SIZE, 72), (72, SIZE)}
    assert (np.std(centres, axis=0) > 0.05).all()


@pytest.mark.parametrize(("min_area", "max_angle"), [(0.4, 14), (0.7, 6)])
def test_crop_keeps_the_proportions(min_area, max_angle):
    border = cv2.BORDER_REFLECT_101
    views = [aug.random_crop(PHOTOGRAPH, SIZE, seeded(seed), min_area, max_angle, border) for seed in range(100)]
    shapes = np.array([view.shape[:2] for view in views])
    assert (shapes.max(axis=1) == SIZE).all()
    ratios = shapes[:, 0] / shapes[:, 1]
    assert (np.abs(np.log(ratios / (PHOTOGRAPH.shape[0] / PHOTOGRAPH.shape[1]))) < 0.22).all()
    assert ratios.std() > 0.01


@pytest.mark.parametrize("shape", [(64, 47), (33, 64), (64, 64), (64, 1)])
def test_padding_is_that_of_the_letterbox(shape):
    view = seeded().integers(0, 255, (*shape, 3)).astype(np.uint8)
    letterboxed = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3).letterbox(Image.fromarray(view))
    assert (aug.pad_to_square(view, 64) == np.asarray(letterboxed)).all()


def test_backgrounds_show_no_product():
    photograph = np.full((200, 160, 3), GREEN, np.uint8)
    photograph[64:136, 52:108] = RED
    corners = [aug.Backgrounds([], [photograph], []).draw(48, 36, seeded(seed)) for seed in range(60)]
    assert sum((view == GREEN).all() for view in corners) > 20
    assert not any((view == RED).all(axis=2).any() for view in corners)
    texture = np.full((64, 64, 3), 100, np.uint8)
    texture[:32] = 140
    tiled = [aug.Backgrounds([texture], [], []).draw(48, 36, seeded(seed)) for seed in range(60)]
    assert sum(view.min() >= 100 and view.max() <= 140 for view in tiled) > 20


def test_degraded_view_shows_the_same():
    differences = [np.abs(aug.degrade(PHOTOGRAPH, seeded(seed)).astype(int) - PHOTOGRAPH).mean() for seed in range(60)]
    assert max(differences) < 25
    assert sum(difference == 0 for difference in differences) > 5
