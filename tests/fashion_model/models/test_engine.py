import numpy as np
import pytest
import torch
from torch import nn

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.explain.cam import METHODS, explain
from fashion_model.models import engine
from fashion_model.models.backbones import Backbone
from fashion_model.models.engine import onnx_engine
from tests.conftest import ATTRIBUTES, encoders_of, random_model

SIZE = (64, 48)


def example(count):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext", "mobilenetv3_small_050"])
@torch.no_grad()
def test_the_engine_computes_the_same_for_any_number_of_images(name):
    backbone = Backbone(name, SIZE).eval()
    run = onnx_engine(backbone, example(2))
    assert not backbone.training
    for count in (1, 3):
        images = example(count)
        expected = backbone.features(images)
        torch.testing.assert_close(run(images), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
        channels_last = images.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(run(channels_last), run(images))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
@pytest.mark.parametrize("method", METHODS)
def test_a_served_network_uses_it_and_has_the_maps_of_the_checkpoint(name, method):
    model = random_model(name, image_size=SIZE).requires_grad_(False)
    served = FashionClassifier(Checkpoint(model, encoders_of(ATTRIBUTES), "tiny"))._model
    runs, run = [], served.backbone.engine
    served.backbone.engine = lambda images: runs.append(len(images)) or run(images)
    targets = [("color", 1), ("gender", 2)]
    for layer in (-1, 1):
        expected = explain(model, example(1), targets, method, [layer])
        found = explain(served, example(1), targets, method, [layer])
        assert np.abs(found.maps - expected.maps).mean() < 0.01
        torch.testing.assert_close(found.pooled, expected.pooled, atol=1e-4, rtol=1e-3)
    assert runs == [1]  # an earlier layer needs gradients in the backbone


class Network(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = features


def test_what_cannot_be_exported_or_comes_out_otherwise_is_left_to_pytorch(monkeypatch):
    assert onnx_engine(Network(lambda images: images + 1), example(2)) is not None
    assert onnx_engine(Network(torch.special.bessel_j0), example(2)) is None  # not in ONNX
    assert onnx_engine(Network(lambda images: images * len(images)), example(2)) is None  # exported as a constant
    monkeypatch.setattr(engine, "PACKAGES", ("onnx", "no_such_engine"))
    assert onnx_engine(Network(lambda images: images + 1), example(2)) is None


def test_without_the_engine_pytorch_answers(monkeypatch):
    monkeypatch.setattr(engine, "PACKAGES", ("no_such_engine",))
    served = FashionClassifier(Checkpoint(random_model(), encoders_of(ATTRIBUTES), "tiny"))
    assert served._model.backbone.engine is None
    model = random_model()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(served._model.features(images), model.features(images), atol=1e-4, rtol=1e-3)
