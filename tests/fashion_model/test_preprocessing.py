import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from fashion_model.preprocessing import Preprocessing
from tests.conftest import PRODUCTS

PHOTOGRAPH = open_image(min((PRODUCTS / "images").iterdir()))


def preprocessing(frame, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), **others):
    return Preprocessing(frame, mean, std, **others)


@pytest.mark.parametrize("frame", [(192, 192), (128, 96)])
@pytest.mark.parametrize("size", [(60, 80), (640, 480), (37, 37), (1, 900), (900, 1)])
def test_photograph_lies_centered_on_white(frame, size):
    prepare = preprocessing(frame)
    left, top, right, bottom = prepare.box(size)
    assert right - left == frame[1] or bottom - top == frame[0]
    assert abs(left - (frame[1] - right)) <= 1
    assert abs(top - (frame[0] - bottom)) <= 1
    if min(size) > 1:
        assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1], rel=0.02)  # whole pixels
    pixels = np.asarray(prepare.letterbox(Image.new("RGB", size, (10, 20, 30))))
    assert pixels.shape == (*frame, 3)
    assert (pixels[top:bottom, left:right] == (10, 20, 30)).all()
    outside = np.ones(frame, dtype=bool)
    outside[top:bottom, left:right] = False
    assert (pixels[outside] == 255).all()


def test_pixels_get_the_mean_and_deviation():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    tensor = preprocessing((80, 60), mean, std)(PHOTOGRAPH)
    expected = (np.asarray(PHOTOGRAPH) / 255 - mean) / std
    assert tensor.dtype == torch.float32
    assert np.allclose(tensor.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("size", [(300, 400), (400, 100), (90, 500)])
def test_map_lies_where_it_is_in_the_photograph(size):
    """One hot cell of a 4 × 3 map, under letterboxes of several shapes."""
    heat = np.zeros((4, 3), dtype=np.float32)
    heat[1, 1] = 1  # rows 32 to 64, columns 32 to 64 of the input
    gray = preprocessing((128, 96)).map_on_photograph(heat, size)
    assert gray.size == size
    scale = min(96 / size[0], 128 / size[1])
    peak = np.argwhere(np.asarray(gray) >= np.asarray(gray).max() - 8).mean(axis=0)
    expected = ((48 - (128 - size[1] * scale) / 2) / scale, (48 - (96 - size[0] * scale) / 2) / scale)
    assert np.abs(peak - np.clip(expected, 0, (size[1] - 1, size[0] - 1))).max() <= 8 / scale
