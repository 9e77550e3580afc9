import cv2
import numpy as np
import pytest
from PIL import Image

from fashion_model.images import open_image
from fashion_model.preprocessing import Preprocessing
from tests.conftest import BACKGROUNDS, EVERYDAY, PHONE, PRODUCTS, ROOT
from train.data.augmentation import (
    Backgrounds,
    crop_region,
    degrade,
    jitter_illumination,
    pad_to_square,
    paste_on_background,
    plain,
    random_crop,
    resize_and_recompress,
)
from train.data.foreground import cut_out, product_mask


def pictures(folder, count):
    return [np.asarray(open_image(path)) for path in sorted(folder.iterdir())[:count]]


BAG = np.asarray(open_image(ROOT / "fashion_model" / "examples" / "2650.jpg"))
THUMBNAIL = np.asarray(open_image(PRODUCTS / "images" / "13146.jpg"))
PHOTOGRAPH = pictures(PHONE, 1)[0]
GROUNDS = Backgrounds(pictures(BACKGROUNDS, 4), pictures(PHONE, 6), pictures(EVERYDAY, 6))
SIZE = 96
RED, GREEN = (200, 30, 20), (20, 160, 60)


def seeded(seed=0):
    return np.random.default_rng(seed)


def square(side=60, size=(160, 120), ground=255):
    """A red square in the middle of an image of (height, width)."""
    image = np.full((*size, 3), ground, np.uint8)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    image[top : top + side, left : left + side] = RED
    return image


def pasted(image, random):
    return paste_on_background(*cut_out(image, random), GROUNDS, SIZE, random)


def photograph_crop(image, random):
    return random_crop(image, SIZE, random, min_area=0.4, max_angle=14, border=cv2.BORDER_REFLECT_101)


def catalogue_crop(image, random):
    return random_crop(image, SIZE, random, min_area=0.7, max_angle=6, border=cv2.BORDER_CONSTANT)


@pytest.mark.parametrize(
    ("make", "image"),
    [
        (photograph_crop, PHOTOGRAPH),
        (catalogue_crop, BAG),
        (lambda i, r: crop_region(i, np.array([20, 30, 90, 120]), SIZE, r, max_angle=10), PHOTOGRAPH),
        (pasted, BAG),
        (pasted, THUMBNAIL),
        (jitter_illumination, PHOTOGRAPH),
        (resize_and_recompress, THUMBNAIL),
        (lambda i, r: np.concatenate([degrade(i, r) for _ in range(8)]), PHOTOGRAPH),
        (lambda i, r: GROUNDS.draw(40, 30, r), PHOTOGRAPH),
    ],
)
def test_view_depends_on_the_seed_alone(make, image):
    before = image.copy()
    first, second, again = (make(image, seeded(seed)) for seed in (1, 2, 1))
    assert (image == before).all()
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert first.tobytes() == again.tobytes() != second.tobytes()


def test_cut_out_agrees_with_the_product_mask():
    image, alpha = cut_out(BAG, seeded())
    assert image.shape == BAG.shape
    assert ((alpha > 127) == product_mask(Image.fromarray(BAG))).mean() > 0.97
    image, alpha = cut_out(THUMBNAIL, seeded())
    height, width = THUMBNAIL.shape[:2]
    assert image.shape == (3 * height, 3 * width, 3)  # enlarged
    small = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
    assert ((small > 127) == product_mask(Image.fromarray(THUMBNAIL))).mean() > 0.9
    ring = square(side=80)
    ring[70:90, 50:70] = 255
    _, alpha = cut_out(ring, seeded())
    assert (alpha[70:90, 50:70] == 255).all()  # white within a product belongs to it
    assert alpha[5, 5] == 0


@pytest.mark.parametrize(
    "image",
    [
        square(ground=150),
        square(side=16),  # 1 % of the image
        square(side=118, size=(120, 120)),  # 97 %
        np.full((160, 120, 3), 255, np.uint8),
        np.concatenate([square()[:, :60], np.full((160, 60, 3), 90, np.uint8)], axis=1),
        PHOTOGRAPH,
    ],
)
def test_product_not_on_white_is_not_cut_out(image):
    assert all(cut_out(image, seeded(seed)) is None for seed in range(5))


class Green(Backgrounds):
    def draw(self, height, width, random):
        return np.full((height, width, 3), GREEN, np.uint8)


@pytest.mark.parametrize("side", [30, 60, 100])
def test_pasted_product_keeps_its_color(side):
    shapes, centres = set(), []
    for seed in range(40):
        random = seeded(seed)
        image, alpha = cut_out(square(side), random)
        assert (image[alpha == 255] == RED).all()
        view = paste_on_background(image, alpha, Green([], [], []), SIZE, random).astype(int)
        assert view[..., 2].max() <= 75  # white has 255 of blue
        product = view[..., 0] >= 0.98 * view[..., 0].max()
        assert product.mean() > 0.005
        gain = view[product].mean(axis=0) / RED
        assert gain[0] == pytest.approx(gain[1], abs=0.1) == pytest.approx(gain[2], abs=0.15)
        assert 0.73 < gain[0] < 1.12
        ground = view[..., 1] > 3 * view[..., 0]  # maybe in the product's shadow
        assert ground.mean() > 0.05
        assert view[ground][:, 1].max() <= 175
        shapes.add(view.shape[:2])
        centres.append([places.mean() / SIZE for places in np.nonzero(product)])
    assert shapes == {(SIZE, SIZE), (SIZE, 72), (72, SIZE)}
    assert (np.std(centres, axis=0) > 0.05).all()


@pytest.mark.parametrize("crop", [photograph_crop, catalogue_crop])
def test_crop_keeps_the_proportions(crop):
    shapes = np.array([crop(PHOTOGRAPH, seeded(seed)).shape[:2] for seed in range(100)])
    assert (shapes.max(axis=1) == SIZE).all()
    ratios = shapes[:, 0] / shapes[:, 1]
    assert (np.abs(np.log(ratios / (PHOTOGRAPH.shape[0] / PHOTOGRAPH.shape[1]))) < 0.22).all()
    assert ratios.std() > 0.01


def test_only_catalogue_images_get_a_white_border():
    gray = np.full((80, 60, 3), 128, np.uint8)
    views = [catalogue_crop(gray, seeded(seed)) for seed in range(20)]
    assert all((view[30:60, 30:40] == 128).all() for view in views)
    assert any((view == 255).all(axis=2).any() for view in views)
    assert all((photograph_crop(gray, seeded(seed)) == 128).all() for seed in range(20))


def test_crop_of_a_large_image_is_not_aliased():
    board = (np.indices((640, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)  # a fine chequerboard becomes gray
    for seed in range(5):
        view = random_crop(np.stack([board] * 3, axis=2), SIZE, seeded(seed), 0.9, 6, cv2.BORDER_REFLECT_101)
        assert (np.abs(view[5:-5, 5:-5].astype(int) - 127) < 40).all()


@pytest.mark.parametrize("shape", [(64, 48), (48, 64), (64, 64), (64, 47), (33, 64), (64, 1)])
def test_padding_is_that_of_the_letterbox(shape):
    view = seeded().integers(0, 255, (*shape, 3)).astype(np.uint8)
    letterboxed = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3).letterbox(Image.fromarray(view))
    assert (pad_to_square(view, 64) == np.asarray(letterboxed)).all()


def test_backgrounds_show_no_product():
    photograph = np.full((200, 160, 3), GREEN, np.uint8)
    photograph[64:136, 52:108] = RED
    corners = [Backgrounds([], [photograph], []).draw(48, 36, seeded(seed)) for seed in range(60)]
    assert sum((view == GREEN).all() for view in corners) > 20
    assert not any((view == RED).all(axis=2).any() for view in corners)
    texture = np.full((64, 64, 3), 100, np.uint8)
    texture[:32] = 140
    tiled = [Backgrounds([texture], [], []).draw(48, 36, seeded(seed)) for seed in range(60)]
    assert sum(view.min() >= 100 and view.max() <= 140 for view in tiled) > 20
    assert all(view.shape == (48, 36, 3) for view in corners + tiled)
    colors = [plain(24, 18, seeded(seed)) for seed in range(40)]
    assert 8 < sum((view == view[0, 0]).all() for view in colors) < 32  # the others are gradients


def test_illumination_keeps_within_its_bounds():
    gray = np.full((4, 4, 3), 150, np.uint8)
    means = np.array([jitter_illumination(gray, seeded(seed)).mean(axis=(0, 1)) for seed in range(300)])
    assert (means > 150 * 0.65 * 0.4).all()
    brightness, tint = means.mean(axis=1), means.max(axis=1) / means.min(axis=1)
    assert (brightness < 140).mean() > 0.3
    assert (brightness > 155).mean() > 0.05
    assert 1.02 < np.median(tint) < 1.2
    weak = [jitter_illumination(gray, seeded(seed), strength=0.3).mean() for seed in range(300)]
    assert np.std(weak) < 0.6 * brightness.std()


def test_degraded_view_shows_the_same():
    views = [degrade(PHOTOGRAPH, seeded(seed)) for seed in range(60)]
    assert all(view.shape == PHOTOGRAPH.shape for view in views)
    differences = [np.abs(view.astype(int) - PHOTOGRAPH).mean() for view in views]
    assert max(differences) < 25
    assert sum(difference == 0 for difference in differences) > 5
    sizes = [resize_and_recompress(THUMBNAIL, seeded(seed)).shape[:2] for seed in range(30)]
    assert len(set(sizes)) > 10
    assert (np.abs(np.array(sizes) / THUMBNAIL.shape[:2] - 1) < 0.32).all()
