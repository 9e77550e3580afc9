import dataclasses

import pytest
import torch

from fashion_model.models.config import TEMPERATURES
from fashion_model.models.multitask import MultiTaskClassifier
from tests.conftest import ATTRIBUTES, NAMES, USAGE, encoders_of, random_model


@pytest.mark.parametrize("attributes", [ATTRIBUTES, (*ATTRIBUTES, USAGE), (USAGE,)])
@pytest.mark.parametrize("kind", [{}, {"heads": "moe", "experts": 3}])
def test_there_are_logits_for_each_attribute(attributes, kind):
    model = random_model(attributes=attributes, image_size=(64, 48), **kind)
    images = torch.randn(2, 3, 64, 48)
    logits = model(images)
    expected = encoders_of(attributes).num_classes
    assert {name: tuple(x.shape) for name, x in logits.items()} == {name: (2, n) for name, n in expected.items()}
    pooled = model.features(images)
    torch.testing.assert_close(pooled, model.backbone(images).mean(dim=(2, 3)))
    for name, x in model.heads(pooled).items():
        assert torch.equal(x, logits[name])


def test_temperatures_calibrate_probabilities(tiny_model):
    temperatures = dict.fromkeys(NAMES, 1.0) | {"color": 2.0}
    model = MultiTaskClassifier(dataclasses.replace(tiny_model.config, temperatures=temperatures)).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = model(images)
    probabilities = model.calibrate(logits)
    assert torch.allclose(probabilities["color"], torch.softmax(logits["color"] / 2, 1))
    assert torch.allclose(probabilities["season"], torch.softmax(logits["season"], 1))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_probabilities_are_numbers_at_extremes(tiny_model, temperature, dtype):
    model = tiny_model
    model.config = dataclasses.replace(model.config, temperatures=dict.fromkeys(NAMES, temperature))
    found = model.calibrate({"color": torch.tensor([[800.0, 0.0, -800.0], [0.0, 0.0, 0.0]], dtype=dtype)})["color"]
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert found.isfinite().all()
    assert found[0, 0] > 0.999
    assert torch.allclose(found.sum(dim=1).float(), torch.ones(2))
    assert torch.equal(found[1].float(), torch.full((3,), 1 / 3))


def test_untrained_heads_count_all_as_fashion(tiny_model):
    assert (tiny_model.fashion_scores(torch.randn(5, tiny_model.backbone.channels)) == 0).all()
    assert tiny_model.config.fashion_threshold == 0


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_heads_leave_the_backbones_random_weights(backbone):
    kinds = {"linear": 0, "moe": 2}
    linear, moe = (random_model(backbone, heads=h, experts=e).backbone.state_dict() for h, e in kinds.items())
    assert all(torch.equal(tensor, moe[key]) for key, tensor in linear.items())
