import threading

import cv2
import numpy as np
import pytest
import torch

from fashion_model.checkpoint import load_checkpoint
from fashion_model.explain.cam import METHODS, explain, resolve_layers
from fashion_model.images import open_image
from tests.conftest import NAMES, ROOT, random_model
from tests.fashion_model.explain.definitions import expected_maps, scaled

EXAMPLE = ROOT / "fashion_model" / "examples" / "2650.jpg"


@pytest.fixture(scope="module")
def model():
    """The embedded default."""
    return load_checkpoint().model.requires_grad_(False)


@pytest.fixture(scope="module")
def photograph(model):
    """A real one as the network sees it, (1, 3, H, W), and what is predicted for it."""
    images = model.config.preprocessing(open_image(EXAMPLE))[None]
    with torch.no_grad():
        logits = model(images)
    return images, [(name, int(logits[name].argmax())) for name in NAMES]


@pytest.mark.parametrize("layer", [-1, 3, 2])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_the_one_of_its_definition(model, photograph, method, layer):
    images, targets = photograph
    found = explain(model, images, targets, method, [layer]).maps
    expected = expected_maps(model, images, targets, method, layer)
    assert found.shape == expected.shape
    assert expected.max() > 0.9
    assert np.allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("layer", [-1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_transformers_tokens_become_a_map(method, layer):
    model = random_model("test_vit", image_size=(64, 48)).requires_grad_(False)
    images = torch.randn(1, 3, 64, 48)
    targets = [(name, index) for name, classes in model.config.num_classes.items() for index in range(classes)]
    found = explain(model, images, targets, method, [layer]).maps
    assert found.shape == (18, 4, 3)
    assert np.allclose(found, expected_maps(model, images, targets, method, layer), atol=0.01)


def test_the_predicted_class_is_explained_if_no_class_is_named(model, photograph):
    images, targets = photograph
    expected = explain(model, images, targets).maps
    found = explain(model, images, [(name, None) for name, _ in targets]).maps
    assert np.array_equal(found, expected)


def test_several_layers_are_averaged_in_the_size_of_the_first(model, photograph):
    images, targets = photograph
    (both,) = explain(model, images, targets[:1], "gradcam", [-1, 2]).maps
    (early,) = explain(model, images, targets[:1], "gradcam", [2]).maps
    (late,) = explain(model, images, targets[:1], "gradcam", [-1]).maps
    enlarged = cv2.resize(late, early.shape[::-1])
    expected = scaled(torch.from_numpy(early + enlarged)[None])[0].numpy()
    assert both.shape == early.shape == tuple(side // 8 for side in model.config.image_size)
    assert np.allclose(both, expected, atol=0.02)


def test_unknown_methods_and_layers_are_refused(tiny_model):
    tiny_model.requires_grad_(False)
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"unknown method 'lime'; there are gradcam"):
        explain(tiny_model, image, [("color", 0)], "lime")
    for layers in ((), (99,), (-10,), (1.5,), ("last",), -1, (True,), np.array([1])):
        with pytest.raises(ValueError, match="layers must be whole numbers from -5 to 4"):
            explain(tiny_model, image, [("color", 0)], "gradcam", layers)
    assert resolve_layers(tiny_model, [-1, 2, 4]) == [2, 4]


def test_no_hook_and_no_gradient_stays(tiny_model):
    tiny_model.requires_grad_(False)
    hooks = {name: len(module._forward_hooks) for name, module in tiny_model.named_modules()}
    explain(tiny_model, torch.randn(1, 3, 64, 64), [(name, 0) for name in NAMES], "gradcam", [2, -1])
    assert {name: len(module._forward_hooks) for name, module in tiny_model.named_modules()} == hooks
    assert not any(module._backward_hooks for module in tiny_model.modules())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


@pytest.mark.parametrize("layers", [(-1,), (2, -1)])
def test_threads_do_not_mix_up_their_maps(tiny_model, layers):
    tiny_model.requires_grad_(False)
    images = [torch.randn(1, 3, 64, 64) for _ in range(4)]

    def map_of(i):
        return explain(tiny_model, images[i], [("color", None)], "gradcam", layers).maps

    expected, wrong = [map_of(i) for i in range(4)], []

    def work(i):
        for _ in range(20):
            if not np.array_equal(map_of(i), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
