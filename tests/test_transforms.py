import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.images import open_image
from fashion_model.transforms import eval_transform, jpeg, letterbox_box, train_transform
from tests.conftest import PRODUCTS, ROOT
from train.augment import RandomReencode

PHOTOGRAPHS = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())[:8]]


def test_eval_transform_keeps_proportions_and_pads_with_white(tiny_model):
    tensor = eval_transform(tiny_model.config)(Image.new("RGB", (100, 100), "black"))
    assert tensor.shape == (3, 32, 24)
    assert tensor.dtype == torch.float32
    assert (tensor[:, 6:26] < -0.95).all()  # the square, black but for what compression does at its edges
    assert (tensor[:, :3] > 0.95).all()
    assert (tensor[:, 29:] > 0.95).all()


def test_sharp_photographs_and_thumbnails_become_nearly_the_same_input(tiny_model):
    """The rule that keeps an answer from hanging on resolution and compression."""
    transform = eval_transform(dataclasses.replace(tiny_model.config, image_size=(160, 120)))
    ours, plain = [], []
    for path in (ROOT / "fashion_model" / "examples").glob("*.jpg"):
        sharp = open_image(path)
        thumbnail = jpeg(sharp.resize((60, 80), Image.Resampling.LANCZOS), 85)
        ours.append((transform(sharp) - transform(thumbnail)).abs().mean())
        enlarged = [np.asarray(image.resize((120, 160), Image.Resampling.BICUBIC)) for image in (sharp, thumbnail)]
        plain.append(np.abs(enlarged[0] / 127.5 - enlarged[1] / 127.5).mean())
    assert np.mean(ours) < 0.03
    assert np.mean(ours) < 0.8 * np.mean(plain)


@pytest.mark.parametrize("size", [(60, 80), (480, 640), (1, 900), (900, 1), (33, 57)])
def test_the_letterbox_lies_inside_the_frame_and_touches_two_sides(size):
    left, top, right, bottom = letterbox_box(size, (128, 96))
    assert 0 <= left < right <= 96
    assert 0 <= top < bottom <= 128
    assert right - left == 96 or bottom - top == 128


def test_a_normalised_photograph_has_the_mean_and_deviation_of_the_config(tiny_model):
    config = dataclasses.replace(tiny_model.config, image_size=(80, 60), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    tensor = eval_transform(config)(PHOTOGRAPHS[0])
    pixels = np.asarray(jpeg(PHOTOGRAPHS[0], config.jpeg_quality))
    expected = (pixels / 255 - config.mean) / config.std
    assert np.allclose(tensor.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


def test_train_transform_varies_with_the_seed_and_repeats_with_it(tiny_model):
    transform = train_transform(tiny_model.config, [RandomReencode()])
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
    train_transform(tiny_model.config)(PHOTOGRAPHS[0])
    assert PHOTOGRAPHS[0].tobytes() == before


def test_jpeg_loses_more_at_a_lower_quality():
    original = np.asarray(PHOTOGRAPHS[0]).astype(int)
    losses = [np.abs(np.asarray(jpeg(PHOTOGRAPHS[0], quality)) - original).mean() for quality in (95, 30)]
    assert 0 < losses[0] < losses[1]
