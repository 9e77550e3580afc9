import threading

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model.attributes import NAMES
from fashion_model.explain import grad_cam, heat_image, overlay


def test_grad_cam_is_the_gradient_weighted_sum_of_the_feature_map(tiny_model):
    """Against the definition, written out with autograd on the whole network."""
    tiny_model.requires_grad_(False)
    images = torch.randn(1, 3, 96, 64)
    features = tiny_model.features(images)
    features = features / features.max()  # random weights give faint maps, and the package adds 1e-7 to their range
    heats = grad_cam(tiny_model, features.expand(4, -1, -1, -1), [(name, 1) for name in NAMES])
    assert heats.shape == (4, 3, 2)
    for name, heat in zip(NAMES, heats, strict=True):
        leaf = features.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(tiny_model.classify(leaf)[name][0, 1], leaf)
        expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)[0].relu()
        expected = (expected - expected.min()) / (expected.max() - expected.min() + 1e-7)
        assert np.allclose(heat, expected.numpy(), atol=1e-4)


def test_the_backbone_runs_once_and_no_hook_stays(tiny_model):
    calls = []
    handle = tiny_model.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        features = tiny_model.features(torch.randn(1, 3, 64, 64))
    grad_cam(tiny_model.requires_grad_(False), features.expand(4, -1, -1, -1), [(name, 0) for name in NAMES])
    handle.remove()
    assert len(calls) == 1
    assert all(not m._forward_hooks and not m._backward_hooks for m in tiny_model.modules())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_threads_do_not_mix_up_their_maps(tiny_model):
    tiny_model.requires_grad_(False)
    with torch.no_grad():
        maps = [tiny_model.features(torch.randn(1, 3, 96, 96)) for _ in range(4)]
    expected = [grad_cam(tiny_model, features, [("color", 0)]) for features in maps]
    wrong = []

    def work(i):
        for _ in range(20):
            if not np.array_equal(grad_cam(tiny_model, maps[i], [("color", 0)]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("size", [(60, 80), (300, 400), (400, 100), (90, 500)])
def test_the_heat_lies_where_it_is_in_the_photograph(size):
    """One hot cell of a 4 × 3 map, under letterboxes of several shapes."""
    frame = (128, 96)
    heat = np.zeros((4, 3), dtype=np.float32)
    heat[1, 1] = 1  # rows 32 to 64, columns 32 to 64 of the frame
    gray = heat_image(heat, size, frame)
    assert gray.size == size
    scale = min(96 / size[0], 128 / size[1])
    peak = np.argwhere(np.asarray(gray) >= np.asarray(gray).max() - 8).mean(axis=0)
    expected = ((48 - (128 - size[1] * scale) / 2) / scale, (48 - (96 - size[0] * scale) / 2) / scale)
    expected = np.clip(expected, 0, (size[1] - 1, size[0] - 1))
    assert np.abs(peak - expected).max() <= 8 / scale


def test_the_overlay_leaves_the_cold_places_and_colors_the_hot_ones():
    photograph = Image.new("RGB", (4, 2), (200, 200, 200))
    heat = Image.new("L", (4, 2), 0)
    heat.putpixel((3, 1), 255)
    result = overlay(photograph, heat)
    assert result.size == photograph.size
    assert result.getpixel((0, 0)) == (200, 200, 200)
    red, green, blue = result.getpixel((3, 1))
    assert red > green
    assert red > blue
    assert photograph.getpixel((3, 1)) == (200, 200, 200)
