import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from fashion_model.preprocessing import Preprocessing
from tests.conftest import PRODUCTS

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())[:8]]


def preprocessing(frame, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), **others):
    return Preprocessing(frame, mean, std, **others)


def test_proportions_are_kept_on_white():
    tensor = preprocessing((32, 24))(Image.new("RGB", (100, 100), "black"))
    assert tensor.shape == (3, 32, 24)
    assert tensor.dtype == torch.float32
    assert (tensor[:, 4:28] == -1).all()  # the square
    assert (tensor[:, :4] == 1).all()
    assert (tensor[:, 28:] == 1).all()


@pytest.mark.parametrize("frame", [(192, 192), (128, 96)])
@pytest.mark.parametrize("size", [(60, 80), (640, 480), (1000, 250), (37, 37), (1, 900), (900, 1), (33, 57)])
def test_a_photograph_lies_whole_and_centered(frame, size):
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


def test_a_turned_photograph_is_treated_alike():
    """In a square neither portrait nor landscape photographs are seen larger than the others."""
    prepare = preprocessing((192, 192))
    for photograph in PHOTOGRAPHS:
        turned = photograph.transpose(Image.Transpose.ROTATE_90)
        left, top, right, bottom = prepare.box(photograph.size)
        of_turned = prepare.box(turned.size)
        assert (of_turned[2] - of_turned[0], of_turned[3] - of_turned[1]) == (bottom - top, right - left)
        back = np.asarray(prepare.letterbox(turned).transpose(Image.Transpose.ROTATE_270)).astype(int)
        assert np.abs(back - np.asarray(prepare.letterbox(photograph))).mean() < 0.2  # one side is resized first


def test_pixels_get_the_mean_and_deviation():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    prepare = preprocessing((80, 60), mean, std)
    before = PHOTOGRAPHS[0].tobytes()
    expected = (np.asarray(PHOTOGRAPHS[0]) / 255 - mean) / std
    assert np.allclose(prepare(PHOTOGRAPHS[0]).numpy(), expected.transpose(2, 0, 1), atol=1e-6)
    assert PHOTOGRAPHS[0].tobytes() == before


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_the_interpolation_is_pillows(name):
    photograph, resampling = PHOTOGRAPHS[0], Image.Resampling[name.upper()]
    ours = np.asarray(preprocessing((40, 30), interpolation=name).letterbox(photograph)).astype(int)
    assert np.abs(ours - np.asarray(photograph.resize((30, 40), resampling))).max() <= 1


@pytest.mark.parametrize("size", [(60, 80), (300, 400), (400, 100), (90, 500)])
def test_a_map_lies_where_it_is_in_the_photograph(size):
    """One hot cell of a 4 × 3 map, under letterboxes of several shapes."""
    heat = np.zeros((4, 3), dtype=np.float32)
    heat[1, 1] = 1  # rows 32 to 64, columns 32 to 64 of the input
    gray = preprocessing((128, 96)).map_on_photograph(heat, size)
    assert gray.size == size
    scale = min(96 / size[0], 128 / size[1])
    peak = np.argwhere(np.asarray(gray) >= np.asarray(gray).max() - 8).mean(axis=0)
    expected = ((48 - (128 - size[1] * scale) / 2) / scale, (48 - (96 - size[0] * scale) / 2) / scale)
    assert np.abs(peak - np.clip(expected, 0, (size[1] - 1, size[0] - 1))).max() <= 8 / scale


def test_it_can_be_sent_to_worker_processes():
    prepare = preprocessing((64, 48))
    assert torch.equal(pickle.loads(pickle.dumps(prepare))(PHOTOGRAPHS[0]), prepare(PHOTOGRAPHS[0]))
