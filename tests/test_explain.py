import copy
import dataclasses
import threading

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from fashion_model.attributes import NAMES
from fashion_model.explain import METHODS, activation_maps, heat_image, overlay, resolve_layers
from fashion_model.images import open_image
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import eval_transform
from tests.conftest import ROOT

EXAMPLE = ROOT / "fashion_model" / "examples" / "2650.jpg"


def definition(method, activations, gradients):
    """Activations and gradients (B, C, h, w) → maps (B, h, w), as in the papers; Grad-CAM++ as in the package."""
    if method == "gradcam":
        return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)
    if method == "gradcam++":
        second, third = gradients**2, gradients**3
        alphas = second / (2 * second + activations.sum(dim=(2, 3), keepdim=True) * third + 1e-6)
        weights = (torch.where(gradients != 0, alphas, 0) * gradients.relu()).sum(dim=(2, 3), keepdim=True)
        return (weights * activations).sum(dim=1)
    return ((gradients.relu() if method == "layercam" else gradients) * activations).sum(dim=1)


def scaled(maps):
    """Each map (h, w) of (B, h, w) to [0, 1]."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + 1e-7)


@pytest.fixture(scope="module")
def photograph(classifier):
    """A real one as the embedded default sees it, (1, 3, H, W), and what is predicted for it."""
    images = eval_transform(classifier.config)(open_image(EXAMPLE))[None]
    logits = classifier._model(images)
    return images, [(name, int(logits[name].argmax())) for name in NAMES]


@pytest.fixture(scope="module")
def one_view(classifier):
    """The embedded default's network, looking at the photograph alone."""
    model = copy.copy(classifier._model)
    model.config = dataclasses.replace(model.config, mirrored=False)
    return model


@pytest.mark.parametrize("layer", [-1, 5, 3])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_the_one_of_its_definition(one_view, photograph, method, layer):
    """Written out with autograd on the whole network."""
    model, (images, targets) = one_view, photograph
    stage = layer % len(model.backbone)
    trunk = model.backbone[: stage + 1](images)
    heats = activation_maps(model, trunk.expand(4, -1, -1, -1), targets, method=method, layers=[layer])
    assert heats.shape == (4, *trunk.shape[2:])
    for (name, index), heat in zip(targets, heats, strict=True):
        leaf = trunk.detach().clone().requires_grad_(True)
        logit = model.classify(model.backbone[stage + 1 :](leaf))[name][0, index]
        (gradient,) = torch.autograd.grad(logit, leaf)
        expected = scaled(definition(method, leaf.detach(), gradient).relu())[0]
        assert expected.max() > 0.9
        assert np.allclose(heat, expected.numpy(), atol=0.01)


def test_several_layers_are_averaged_in_the_size_of_the_first(one_view, photograph):
    model, (images, targets) = one_view, photograph
    trunk = model.backbone[:4](images)
    (both,) = activation_maps(model, trunk, targets[:1], "gradcam", [-1, 3])
    (early,) = activation_maps(model, trunk, targets[:1], "gradcam", [3])
    (late,) = activation_maps(model, model.backbone(images), targets[:1], "gradcam", [-1])
    enlarged = cv2.resize(late, early.shape[::-1])
    expected = scaled(torch.from_numpy(early + enlarged)[None])[0].numpy()
    assert both.shape == early.shape == tuple(side // 8 for side in model.config.image_size)
    assert np.allclose(both, expected, atol=0.02)


def mirroring(encoders, heads):
    """A network with random weights that looks at both views, for 64 × 48 pixels."""
    torch.manual_seed(0)
    kind = {"heads": heads, "experts": 0 if heads == "linear" else 3}
    size = {"image_size": (64, 48), "mirrored": True}
    config = ModelConfig.for_backbone("efficientnet_lite0", encoders.num_classes, **size, **kind)
    model = MultiTaskClassifier(config).eval().requires_grad_(False)
    for parameter in model.heads.parameters():
        parameter.mul_(10)  # far enough from linear for the point at which it is differentiated to count
    return model


@pytest.mark.parametrize("heads", ["linear", "moe"])
@pytest.mark.parametrize("layer", [-1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_two_views_is_that_of_their_common_answer(tiny_encoders, method, layer, heads):
    model = mirroring(tiny_encoders, heads)
    stage = layer % len(model.backbone)
    trunk = model.backbone[: stage + 1](model.views(torch.randn(1, 3, 64, 48)))
    targets = [("color", 1), ("gender", 0)]
    found = activation_maps(model, trunk.repeat_interleave(2, dim=0), targets, method, [layer])
    assert found.shape == (2, *trunk.shape[2:])
    for (name, index), heat in zip(targets, found, strict=True):
        leaf = trunk.clone().requires_grad_(True)
        logits = model.classify(model.joined(model.backbone[stage + 1 :](leaf)))
        (gradient,) = torch.autograd.grad(logits[name][0, index], leaf)
        both = [torch.cat(list(x), dim=2)[None] for x in (leaf.detach(), gradient)]
        plain, mirrored = scaled(definition(method, *both).relu()).chunk(2, dim=2)
        expected = scaled((plain + mirrored.flip(2)) / 2)[0].numpy()
        assert np.allclose(heat, expected, atol=0.01)


@pytest.mark.parametrize("layer", [-1, 6])
@pytest.mark.parametrize("method", METHODS)
def test_a_transformers_tokens_become_a_map(tiny_encoders, method, layer):
    torch.manual_seed(0)
    config = ModelConfig.for_backbone("vit_ti_8", tiny_encoders.num_classes, image_size=(64, 48))
    model = MultiTaskClassifier(config).eval().requires_grad_(False)
    stage = layer % len(model.backbone)
    trunk = model.backbone[: stage + 1](torch.randn(1, 3, 64, 48))
    targets = [(name, index) for name, classes in config.num_classes.items() for index in range(classes)]
    heats = activation_maps(model, trunk.expand(len(targets), *trunk.shape[1:]), targets, method, [layer])
    assert heats.shape == (18, 8, 6)
    assert heats.max() > 0.9
    for (name, index), heat in zip(targets, heats, strict=True):
        leaf = trunk.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(model.classify(model.backbone[stage + 1 :](leaf))[name][0, index], leaf)
        maps = definition(method, model.as_map(leaf.detach()), model.as_map(gradient)).relu()
        expected = scaled(scaled(maps))[0]  # the package does it twice, which matters where a map is nearly even
        assert np.allclose(heat, expected.numpy(), atol=0.01)


def test_unknown_methods_and_layers_are_refused(tiny_model):
    features = tiny_model.requires_grad_(False).features(torch.randn(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"unknown method 'lime'; there are gradcam"):
        activation_maps(tiny_model, features, [("color", 0)], "lime", [-1])
    for layers in ((), (99,), (-10,), (1.5,), ("last",), -1, (True,), np.array([1])):
        with pytest.raises(ValueError, match="layers must be whole numbers from -9 to 8"):
            activation_maps(tiny_model, features, [("color", 0)], "gradcam", layers)
    assert resolve_layers(tiny_model, [-1, 5, 8]) == [5, 8]


def test_no_hook_and_no_gradient_stays(tiny_model):
    tiny_model.requires_grad_(False)
    trunk = tiny_model.backbone[:6](torch.randn(1, 3, 64, 64))
    activation_maps(tiny_model, trunk.expand(4, -1, -1, -1), [(name, 0) for name in NAMES], "gradcam", [5, -1])
    assert all(not m._forward_hooks and not m._backward_hooks for m in tiny_model.modules())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


@pytest.mark.parametrize("layers", [(-1,), (5, -1)])
def test_threads_do_not_mix_up_their_maps(tiny_model, layers):
    tiny_model.requires_grad_(False)
    first = resolve_layers(tiny_model, layers)[0]
    trunks = [tiny_model.backbone[: first + 1](torch.randn(1, 3, 96, 96)) for _ in range(4)]
    predicted = [int(tiny_model.classify(tiny_model.backbone[first + 1 :](t))["color"].argmax()) for t in trunks]

    def map_of(i):
        return activation_maps(tiny_model, trunks[i], [("color", predicted[i])], "gradcam", layers)

    expected = [map_of(i) for i in range(4)]
    wrong = []

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


def test_the_overlay_is_gray_where_it_is_cold_and_colored_where_it_is_hot():
    photograph = Image.new("RGB", (4, 2), (200, 30, 30))
    heat = Image.new("L", (4, 2), 0)
    heat.putpixel((3, 1), 255)
    result = overlay(photograph, heat)
    assert result.size == photograph.size
    assert len(set(result.getpixel((0, 0)))) == 1
    red, green, blue = result.getpixel((3, 1))
    assert red > 1.5 * max(green, blue)
    assert photograph.getpixel((3, 1)) == (200, 30, 30)
    assert overlay(photograph, heat, opacity=0).getpixel((3, 1)) == result.getpixel((0, 0))
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="the opacity must be from 0 to 1"):
            overlay(photograph, heat, opacity)


@pytest.mark.parametrize("color", ["black", "white", "red", "darkred", "blue", "navy", "yellow", "gray", "green"])
def test_half_and_full_heat_stand_out_on_a_product_of_any_color(color):
    """In CIE L*a*b*, where a difference of 2.3 can just be seen (Mahy et al. 1994)."""
    heat = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    cold, half, full = rgb2lab(np.asarray(overlay(Image.new("RGB", (3, 1), color), heat)))[0]
    for one, other in ((cold, half), (half, full), (cold, full)):
        assert deltaE_ciede2000(one, other) > 20
