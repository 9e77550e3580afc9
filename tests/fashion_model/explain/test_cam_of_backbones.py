"""Maps of every kind of backbone, against the definitions, and of the network that is served."""

import numpy as np
import pytest
import torch

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.explain.cam import METHODS, explain
from tests.conftest import ATTRIBUTES, USAGE, encoders_of, random_model
from tests.fashion_model.explain.definitions import expected_maps

SIZE = (64, 48)  # height and width differ, so that they cannot be mixed up
TINY = ("test_efficientnet", "test_convnext", "mobilenetv3_small_050", "test_vit", "test_mambaout")
LARGER = ("tf_efficientnet_lite0", "efficientnet_v2_s")
ALL_LAYERS = [(backbone, None) for backbone in TINY]
LAST_LAYERS = [pytest.param(backbone, (-2, -1), marks=pytest.mark.slow) for backbone in LARGER]


def network_and_image(backbone, dtype=torch.float64, **settings):
    """Random weights; in float32 early maps of some random networks are mostly rounding errors."""
    model = random_model(backbone, image_size=SIZE, **settings).to(dtype).requires_grad_(False)
    for parameter in model.heads.parameters():
        parameter.mul_(10)
    return model, torch.randn(1, 3, *SIZE, dtype=dtype)


@pytest.mark.parametrize(("backbone", "layers"), [*ALL_LAYERS, *LAST_LAYERS])
@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_any_backbone_is_that_of_the_methods_definition(backbone, layers, method):
    model, image = network_and_image(backbone, torch.float64 if backbone in TINY else torch.float32)
    targets = [("color", 2), ("gender", 1)]
    for layer in layers or range(len(model.backbone.stages)):
        found = explain(model, image, targets, method, [layer])
        expected = expected_maps(model, image, targets, method, layer)
        assert found.maps.shape == expected.shape
        assert expected.max() > 0.5
        assert np.allclose(found.maps, expected, atol=0.01)
        torch.testing.assert_close(found.pooled, model.features(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_mixture_of_experts_heads_and_a_fifth_attribute_are_explained(method):
    model, image = network_and_image("test_efficientnet", attributes=(*ATTRIBUTES, USAGE), heads="moe", experts=3)
    targets = [(name, index) for name, classes in model.config.num_classes.items() for index in range(classes)]
    assert targets[-1] == ("usage", 6)
    for layer in (-1, 2):
        found = explain(model, image, targets, method, [layer])
        assert np.allclose(found.maps, expected_maps(model, image, targets, method, layer), atol=0.01)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "mobilenetv3_small_050", "test_resnet"])
@pytest.mark.parametrize("method", METHODS)
def test_the_served_network_has_the_maps_of_the_checkpoints_at_every_layer(backbone, method):
    """Batch norms are folded in it, also where one is a stage of its own, as in MobileNetV3."""
    model = random_model(backbone, image_size=SIZE)
    served = FashionClassifier(Checkpoint(model, encoders_of(ATTRIBUTES), "tiny"))._model.double()
    served.backbone.engine = None  # it computes in float32
    model, image, targets = model.double().requires_grad_(False), torch.randn(1, 3, *SIZE).double(), [("color", 1)]
    for layer in range(len(model.backbone.stages)):
        expected = explain(model, image, targets, method, [layer]).maps
        assert np.abs(explain(served, image, targets, method, [layer]).maps - expected).mean() < 0.01
