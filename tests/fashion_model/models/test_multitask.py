import dataclasses
import math

import pytest
import torch

from fashion_model.models.config import TEMPERATURES
from fashion_model.models.multitask import Heads
from tests.conftest import ATTRIBUTES, NAMES, USAGE, encoders_of, random_model

CLASSES = dict.fromkeys(NAMES, 2)


@pytest.mark.parametrize("attributes", [ATTRIBUTES, (*ATTRIBUTES, USAGE)])
@pytest.mark.parametrize("kind", [{}, {"heads": "moe", "experts": 3}])
def test_each_attribute_has_logits(attributes, kind):
    model = random_model(attributes=attributes, image_size=(64, 48), **kind)
    images = torch.randn(2, 3, 64, 48)
    logits, pooled = model(images), model.features(images)
    expected = encoders_of(attributes).num_classes
    assert {name: tuple(x.shape) for name, x in logits.items()} == {name: (2, n) for name, n in expected.items()}
    torch.testing.assert_close(pooled, model.backbone(images).mean(dim=(2, 3)))
    assert all(torch.equal(x, logits[name]) for name, x in model.heads(pooled).items())
    assert (model.fashion_scores(pooled) == 0).all()  # untrained, all count as fashion
    assert model.config.fashion_threshold == 0


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_probabilities_are_calibrated_numbers(tiny_model, temperature, dtype):
    temperatures = dict.fromkeys(NAMES, 1.0) | {"color": temperature}
    tiny_model.config = dataclasses.replace(tiny_model.config, temperatures=temperatures)
    logits = torch.tensor([[800.0, 0.0, -800.0], [2.0, 1.0, 0.0]], dtype=dtype)
    for name, probabilities in tiny_model.calibrate({"color": logits, "season": logits}, torch.zeros(2)).items():
        assert probabilities.dtype == torch.promote_types(dtype, torch.float32)
        assert probabilities[0, 0] > 0.999
        expected = torch.softmax(logits[1].double() / temperatures[name], 0)
        torch.testing.assert_close(probabilities[1].double(), expected, atol=1e-6, rtol=1e-5)


def test_what_looks_less_like_a_product_is_less_certain(tiny_model):
    tiny_model.config = dataclasses.replace(tiny_model.config, temperature_slope=0.1)
    logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(3, 1)
    probabilities = tiny_model.calibrate({"color": logits}, torch.tensor([0.0, 10.0, -1e9]))["color"]
    expected = torch.softmax(logits * torch.tensor([[1.0], [math.e], [math.e**-2]]), dim=1)
    torch.testing.assert_close(probabilities, expected)


@torch.inference_mode()
def test_logits_are_of_the_gated_sum_of_experts():
    torch.manual_seed(0)
    heads, pooled = Heads(8, CLASSES, dropout=0.5, experts=3).eval(), torch.randn(5, 8)
    experts = heads.experts(pooled).relu().split(256, dim=1)
    for name, logits in heads(pooled).items():
        weights = heads.gates[name](pooled).softmax(dim=1)
        mixed = sum(weights[:, i : i + 1] * expert for i, expert in enumerate(experts))
        torch.testing.assert_close(logits, heads.linear[name](mixed))
        torch.testing.assert_close(heads.gates_of(pooled)[name], weights)
    assert Heads(8, CLASSES, dropout=0.5).gates_of(pooled) == {}
