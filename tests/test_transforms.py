import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from fashion_model.transforms import eval_transform, jpeg, letterbox_box, train_transform
from tests.conftest import PRODUCTS

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())[:8]]


def test_eval_transform_keeps_proportions_and_pads_with_white(tiny_model):
    tensor = eval_transform(tiny_model.config)(Image.new("RGB", (100, 100), "black"))
    assert tensor.shape == (3, 32, 24)
    assert tensor.dtype == torch.float32
    assert (tensor[:, 4:28] == -1).all()  # the square, black
    assert (tensor[:, :4] == 1).all()
    assert (tensor[:, 28:] == 1).all()


@pytest.mark.parametrize("size", [(60, 80), (480, 640), (1, 900), (900, 1), (33, 57)])
def test_the_letterbox_lies_inside_the_frame_and_touches_two_sides(size):
    left, top, right, bottom = letterbox_box(size, (128, 96))
    assert 0 <= left < right <= 96
    assert 0 <= top < bottom <= 128
    assert right - left == 96 or bottom - top == 128


def test_a_normalised_photograph_has_the_mean_and_deviation_of_the_config(tiny_model):
    photograph = PHOTOGRAPHS[0].resize((24, 32))
    tensor = eval_transform(tiny_model.config)(photograph)
    expected = (np.asarray(photograph).transpose(2, 0, 1) / 255 - 0.5) / 0.5
    assert np.allclose(tensor.numpy(), expected, atol=1e-6)


def test_train_transform_varies_with_the_seed_and_repeats_with_it(tiny_model):
    transform = train_transform(tiny_model.config, reencode=1.0)
    results = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        results.append(torch.stack([transform(photograph) for photograph in PHOTOGRAPHS]))
    assert results[0].shape == (8, 3, 32, 24)
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_transforms_leave_the_photograph_as_it_was(tiny_model):
    before = PHOTOGRAPHS[0].tobytes()
    eval_transform(tiny_model.config)(PHOTOGRAPHS[0])
    train_transform(tiny_model.config, reencode=1.0)(PHOTOGRAPHS[0])
    assert PHOTOGRAPHS[0].tobytes() == before


def test_jpeg_loses_more_at_a_lower_quality():
    original = np.asarray(PHOTOGRAPHS[0]).astype(int)
    losses = [np.abs(np.asarray(jpeg(PHOTOGRAPHS[0], quality)) - original).mean() for quality in (95, 30)]
    assert 0 < losses[0] < losses[1]
