import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from fashion_model.transforms import Letterbox, eval_transform, jpeg, letterbox_box
from tests.conftest import PRODUCTS

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())[:8]]


def test_eval_transform_keeps_proportions_and_pads_with_white(tiny_model):
    config = dataclasses.replace(tiny_model.config, image_size=(32, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
    tensor = eval_transform(config)(Image.new("RGB", (100, 100), "black"))
    assert tensor.shape == (3, 32, 24)
    assert tensor.dtype == torch.float32
    assert (tensor[:, 4:28] == -1).all()  # the square
    assert (tensor[:, :4] == 1).all()
    assert (tensor[:, 28:] == 1).all()


@pytest.mark.parametrize("frame", [(192, 192), (128, 96)])
def test_a_whole_photograph_lies_in_the_frame_and_all_else_is_white(frame):
    for size in ((60, 80), (640, 480), (1000, 250), (37, 37)):
        left, top, right, bottom = letterbox_box(size, frame)
        found = np.asarray(Letterbox(frame)(Image.new("RGB", size, (10, 20, 30))))
        assert found.shape == (*frame, 3)
        assert (found[top:bottom, left:right] == (10, 20, 30)).all()
        outside = np.ones(frame, dtype=bool)
        outside[top:bottom, left:right] = False
        assert (found[outside] == 255).all()
        assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1], rel=0.02)  # whole pixels
        assert abs(left - (frame[1] - right)) <= 1
        assert abs(top - (frame[0] - bottom)) <= 1


def test_a_photograph_turned_by_a_quarter_is_the_same_picture_turned():
    """In a square neither portrait nor landscape photographs are seen larger than the others."""
    letterbox = Letterbox((192, 192))
    for photograph in PHOTOGRAPHS:
        portrait, landscape = (letterbox(p) for p in (photograph, photograph.transpose(Image.Transpose.ROTATE_90)))
        left, top, right, bottom = letterbox_box(photograph.size, letterbox.frame)
        turned = letterbox_box(photograph.size[::-1], letterbox.frame)
        assert (turned[2] - turned[0], turned[3] - turned[1]) == (bottom - top, right - left)
        back = np.asarray(landscape.transpose(Image.Transpose.ROTATE_270)).astype(int)
        assert np.abs(back - np.asarray(portrait)).mean() < 0.2  # rows and columns are resized one after the other


@pytest.mark.parametrize("size", [(60, 80), (480, 640), (1, 900), (900, 1), (33, 57)])
def test_the_letterbox_lies_inside_the_frame_and_touches_two_sides(size):
    left, top, right, bottom = letterbox_box(size, (128, 96))
    assert 0 <= left < right <= 96
    assert 0 <= top < bottom <= 128
    assert right - left == 96 or bottom - top == 128


def test_a_normalised_photograph_has_the_mean_and_deviation_of_the_config(tiny_model):
    config = dataclasses.replace(tiny_model.config, image_size=(80, 60), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    tensor = eval_transform(config)(PHOTOGRAPHS[0])
    expected = (np.asarray(PHOTOGRAPHS[0]) / 255 - config.mean) / config.std
    assert np.allclose(tensor.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


def test_transforms_leave_the_photograph_as_it_was(tiny_model):
    before = PHOTOGRAPHS[0].tobytes()
    eval_transform(tiny_model.config)(PHOTOGRAPHS[0])
    assert PHOTOGRAPHS[0].tobytes() == before


def test_jpeg_loses_more_at_a_lower_quality():
    original = np.asarray(PHOTOGRAPHS[0]).astype(int)
    losses = [np.abs(np.asarray(jpeg(PHOTOGRAPHS[0], quality)) - original).mean() for quality in (95, 30)]
    assert 0 < losses[0] < losses[1]


def test_worker_processes_that_are_started_anew_get_the_transform(tiny_model):
    transform = eval_transform(tiny_model.config)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(PHOTOGRAPHS[0]), transform(PHOTOGRAPHS[0]))
