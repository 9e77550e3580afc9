import cv2
import numpy as np
import pytest
from PIL import Image

from fashion_model.images import open_image
from fashion_model.preprocessing import Preprocessing
from tests.conftest import BACKGROUNDS, EVERYDAY, PHONE, PRODUCTS, ROOT
from train.data.augmentation import (
    Backgrounds,
    degrade,
    jitter_illumination,
    pad_to_square,
    paste_on_background,
    perturbed,
    plain,
    random_crop,
    resize_and_recompress,
    rotated,
)
from train.data.foreground import cut_out, product_mask


def pictures(folder, count):
    return [np.asarray(open_image(path)) for path in sorted(folder.iterdir())[:count]]


BAG = np.asarray(open_image(ROOT / "fashion_model" / "examples" / "2650.jpg"))
THUMBNAIL = np.asarray(open_image(PRODUCTS / "images" / "13146.jpg"))
PHOTOGRAPH = pictures(PHONE, 1)[0]
GROUNDS = Backgrounds(pictures(BACKGROUNDS, 4), pictures(PHONE, 6), pictures(EVERYDAY, 6))
SIZE = 96


def seeded(seed=0):
    return np.random.default_rng(seed)


def square(side=60, size=(160, 120), color=(200, 30, 20), ground=255):
    """A square of one color in the middle of a picture of (height, width)."""
    picture = np.full((*size, 3), ground, np.uint8)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    picture[top : top + side, left : left + side] = color
    return picture


def composed(picture, random):
    return paste_on_background(*cut_out(picture, random), GROUNDS, SIZE, random)


@pytest.mark.parametrize(
    ("make", "picture"),
    [
        (lambda p, r: random_crop(p, SIZE, r, min_area=0.4, max_angle=14, border=cv2.BORDER_REFLECT_101), PHOTOGRAPH),
        (lambda p, r: random_crop(p, SIZE, r, min_area=0.7, max_angle=6, border=cv2.BORDER_CONSTANT), BAG),
        (composed, BAG),
        (composed, THUMBNAIL),
        (jitter_illumination, PHOTOGRAPH),
        (resize_and_recompress, THUMBNAIL),
        (lambda p, r: np.concatenate([degrade(p, r) for _ in range(8)]), PHOTOGRAPH),
        (lambda p, r: GROUNDS.draw(40, 30, r), PHOTOGRAPH),
    ],
)
def test_a_view_follows_the_seed_and_leaves_its_input_alone(make, picture):
    before = picture.copy()
    first, second, again = (make(picture, seeded(seed)) for seed in (1, 2, 1))
    assert (picture == before).all()
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert first.tobytes() == again.tobytes() != second.tobytes()


def test_a_product_is_cut_out_where_its_mask_says():
    mask = product_mask(Image.fromarray(BAG))  # another way to find it
    picture, alpha = cut_out(BAG, seeded())
    assert picture.shape == BAG.shape
    assert alpha.shape == BAG.shape[:2]
    assert ((alpha > 127) == mask).mean() > 0.97
    assert (alpha[:, :3] == 0).all()


def test_a_thumbnail_is_enlarged_before_its_product_is_cut_out():
    picture, alpha = cut_out(THUMBNAIL, seeded())
    height, width = THUMBNAIL.shape[:2]
    assert picture.shape == (3 * height, 3 * width, 3)
    assert alpha.shape == picture.shape[:2]
    mask = product_mask(Image.fromarray(THUMBNAIL))
    small = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
    assert ((small > 127) == mask).mean() > 0.9


def test_white_within_a_product_belongs_to_it():
    ring = square(side=80)
    ring[70:90, 50:70] = 255
    _, alpha = cut_out(ring, seeded())
    assert (alpha[70:90, 50:70] == 255).all()
    assert alpha[5, 5] == 0


@pytest.mark.parametrize(
    "picture",
    [
        square(ground=150),
        square(side=16),  # 1 % of the picture
        square(side=118, size=(120, 120)),  # 97 %
        np.full((160, 120, 3), 255, np.uint8),
        np.concatenate([square()[:, :60], np.full((160, 60, 3), 90, np.uint8)], axis=1),
        PHOTOGRAPH,
    ],
)
def test_what_no_plain_white_surrounds_is_not_cut_out(picture):
    assert all(cut_out(picture, seeded(seed)) is None for seed in range(5))


class Lawn(Backgrounds):
    """One ground for all, so that what else is seen is the product."""

    def draw(self, height, width, random):
        return np.full((height, width, 3), (20, 160, 60), np.uint8)


@pytest.mark.parametrize("side", [30, 60, 100])
def test_before_another_ground_the_product_keeps_its_color_and_the_white_goes(side):
    red, lawn = np.array((200, 30, 20)), Lawn([], [], [])
    for seed in range(40):
        random = seeded(seed)
        picture, alpha = cut_out(square(side, color=red), random)
        assert (picture[alpha == 255] == red).all()
        view = paste_on_background(picture, alpha, lawn, SIZE, random).astype(int)
        assert view[..., 2].max() <= 75  # white has 255 of blue: next to nothing of it is left, even at the edge
        product = view[..., 0] >= 0.98 * view[..., 0].max()
        assert product.mean() > 0.005
        gain = view[product].mean(axis=0) / red
        assert gain[0] == pytest.approx(gain[1], abs=0.1) == pytest.approx(gain[2], abs=0.15)
        assert 0.73 < gain[0] < 1.12  # another light, at most
        ground = view[..., 1] > 3 * view[..., 0]  # maybe in the product's shadow
        assert ground.mean() > 0.05
        assert view[ground][:, 1].max() <= 175


def test_a_composite_fits_its_frame_and_shows_the_product_in_many_places():
    shapes, centres = set(), []
    for seed in range(40):
        view = composed(square(), seeded(seed))
        shapes.add(view.shape[:2])
        product = (view[..., 0].astype(int) > 90) & (view[..., 1] < 70) & (view[..., 2] < 70)
        if product.any():
            rows, columns = np.nonzero(product)
            centres.append((rows.mean() / view.shape[0], columns.mean() / view.shape[1]))
    assert shapes == {(SIZE, SIZE), (SIZE, 72), (72, SIZE)}
    assert len(centres) > 30
    assert (np.std(centres, axis=0) > 0.05).all()


@pytest.mark.parametrize(("min_area", "max_angle"), [(0.4, 14), (0.7, 6)])
def test_a_piece_of_a_photograph_fits_the_frame_and_keeps_its_proportions(min_area, max_angle):
    random = seeded()
    shapes = [
        random_crop(PHOTOGRAPH, SIZE, random, min_area, max_angle, cv2.BORDER_REFLECT_101).shape[:2] for _ in range(100)
    ]
    assert all(max(shape) == SIZE for shape in shapes)
    ratios = np.array([height / width for height, width in shapes])
    whole = PHOTOGRAPH.shape[0] / PHOTOGRAPH.shape[1]
    assert (np.abs(np.log(ratios / whole)) < 0.22).all()
    assert ratios.std() > 0.01


def test_beyond_the_edge_of_a_catalogue_picture_all_is_white_and_of_a_photograph_a_mirror():
    gray = np.full((80, 60, 3), 128, np.uint8)
    seen_white = False
    for seed in range(20):
        of_catalogue = random_crop(gray, SIZE, seeded(seed), 0.9, 20, cv2.BORDER_CONSTANT)
        of_phone = random_crop(gray, SIZE, seeded(seed), 0.9, 20, cv2.BORDER_REFLECT_101)
        assert (of_phone == 128).all()
        assert (of_catalogue[30:60, 30:40] == 128).all()
        seen_white |= bool((of_catalogue == 255).all(axis=2).any())
    assert seen_white


def test_a_large_photograph_is_shrunk_without_aliasing():
    """A fine chequerboard comes out gray, not as a coarser pattern."""
    board = (np.indices((640, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for seed in range(5):
        view = random_crop(np.stack([board] * 3, axis=2), SIZE, seeded(seed), 0.9, 6, cv2.BORDER_REFLECT_101)
        assert (np.abs(view[5:-5, 5:-5].astype(int) - 127) < 40).all()


@pytest.mark.parametrize("shape", [(64, 48), (48, 64), (64, 64), (64, 47), (33, 64), (64, 1)])
def test_a_view_lies_where_the_network_in_use_puts_a_photograph(shape):
    view = seeded().integers(0, 255, (*shape, 3)).astype(np.uint8)
    letterboxed = np.asarray(Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3).letterbox(Image.fromarray(view)))
    assert (pad_to_square(view, 64) == letterboxed).all()


def test_a_corner_of_a_photograph_does_not_show_what_lies_in_its_middle():
    photograph = np.full((200, 160, 3), (30, 140, 40), np.uint8)
    photograph[64:136, 52:108] = (220, 20, 20)
    grounds = Backgrounds([], [photograph], [])
    drawn = [grounds.draw(48, 36, seeded(seed)) for seed in range(60)]
    of_photograph = [g for g in drawn if (g == (30, 140, 40)).all()]
    assert len(of_photograph) > 20
    assert not any(((g == (220, 20, 20)).all(axis=2)).any() for g in drawn)


def test_a_texture_is_tiled_and_leaves_no_hole():
    texture = np.full((64, 64, 3), 100, np.uint8)
    texture[:32] = 140
    random = seeded()
    drawn = [Backgrounds([texture], [], []).draw(48, 36, random) for _ in range(60)]
    tiled = [g for g in drawn if g.min() >= 100 and g.max() <= 140]
    assert len(tiled) > 20
    assert all(g.shape == (48, 36, 3) for g in drawn)


def test_with_nothing_to_lie_on_there_are_plain_colors():
    grounds = Backgrounds([], [], [])
    for seed in range(10):
        assert (grounds.draw(24, 18, seeded(seed)).reshape(-1, 3).std(axis=0) < 100).all()
    one_color = [(plain(24, 18, seeded(seed)) == plain(24, 18, seeded(seed))[0, 0]).all() for seed in range(40)]
    assert 8 < sum(one_color) < 32


def test_another_lamp_keeps_within_its_bounds():
    gray = np.full((4, 4, 3), 150, np.uint8)
    lit = np.array([jitter_illumination(gray, seeded(seed)) for seed in range(300)]).astype(int)
    means = lit.mean(axis=(1, 2))
    assert (means > 150 * 0.65 * 0.4).all()
    assert (means <= 255).all()
    brightness = means.mean(axis=1)
    assert (brightness < 140).mean() > 0.3
    assert (brightness > 155).mean() > 0.05
    tint = means.max(axis=1) / means.min(axis=1)
    assert 1.02 < np.median(tint) < 1.2
    weaker = np.array([jitter_illumination(gray, seeded(seed), strength=0.3) for seed in range(300)]).mean(
        axis=(1, 2, 3)
    )
    assert weaker.std() < 0.6 * brightness.std()


def test_an_upload_that_suffered_keeps_its_size_and_shows_the_same():
    differences = []
    for seed in range(60):
        view = degrade(PHOTOGRAPH, seeded(seed))
        assert view.shape == PHOTOGRAPH.shape
        differences.append(np.abs(view.astype(int) - PHOTOGRAPH).mean())
    assert max(differences) < 25
    assert sum(d == 0 for d in differences) > 5  # many stay as they are


def test_the_size_after_resampling_varies():
    height, width = THUMBNAIL.shape[:2]
    shapes = {resize_and_recompress(THUMBNAIL, seeded(seed)).shape[:2] for seed in range(30)}
    assert len(shapes) > 10
    assert all(0.69 * height <= h <= 1.31 * height and 0.69 * width <= w <= 1.31 * width for h, w in shapes)


def test_turning_and_moving_corners_keeps_their_centre_and_about_their_place():
    corners = np.array([[0, 0], [40, 0], [40, 20], [0, 20]], dtype=np.float32)
    turned = rotated(corners, 90)
    assert np.allclose(turned.mean(axis=0), corners.mean(axis=0))
    assert np.allclose(np.ptp(turned, axis=0), [20, 40], atol=1e-4)
    moved = perturbed(corners, 0.1, seeded()) - corners
    assert (np.abs(moved) <= [4, 2]).all()
    assert np.abs(moved).max() > 0.5
