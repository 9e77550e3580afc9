"""The stages of backbones: their sizes, their taps, and freezing the first ones."""

import pytest
import torch

from fashion_model.models.backbones import Backbone

SIZE = (64, 48)  # height and width differ, so that they cannot be mixed up
BACKBONES = (
    "test_efficientnet",
    "test_convnext",
    "mobilenetv3_small_050",
    "test_vit",
    "test_mambaout",  # channels last
    pytest.param("tf_efficientnet_lite0", marks=pytest.mark.slow),
    pytest.param("efficientnet_v2_s", marks=pytest.mark.slow),
)


def outputs_of_stages(backbone, images):
    outputs = {}

    def recorded(index):
        def tap(output):
            outputs[index] = backbone.as_map(output)
            return output

        return tap

    with backbone.tapped({index: recorded(index) for index in range(len(backbone.stages))}):
        backbone(images)
    return [outputs[index] for index in range(len(backbone.stages))]


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_has_a_feature_map_and_stages_of_decreasing_size(name):
    backbone, images = Backbone(name, SIZE).eval(), torch.randn(2, 3, *SIZE)
    feature_map = backbone(images)
    assert feature_map.shape[:2] == (2, backbone.channels)
    outputs = outputs_of_stages(backbone, images)
    assert torch.equal(outputs[-1], feature_map)
    assert len(outputs) == len(backbone.stages) >= 4
    sizes = [tuple(output.shape[-2:]) for output in outputs]
    assert sizes == sorted(sizes, reverse=True)
    for stage, output in zip(backbone.stages[:-1], outputs, strict=False):
        assert output.ndim == 4
        assert output.shape[0] == 2
        assert backbone.net.get_submodule(stage) is not None


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_what_a_tap_returns_takes_the_place_of_the_stages_output(name):
    backbone, images = Backbone(name, SIZE).eval(), torch.randn(2, 3, *SIZE)
    expected = backbone(images)
    for index in range(len(backbone.stages)):
        with backbone.tapped({index: lambda output: output.flip(0)}):
            torch.testing.assert_close(backbone(images), expected.flip(0), atol=1e-4, rtol=1e-4)
        assert torch.equal(backbone(images), expected)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_first_stages_are_all_modules_up_to_them(name):
    backbone = Backbone(name, SIZE)
    net = backbone.net
    assert backbone.first_stages(0) == []
    for count in range(1, len(backbone.stages)):
        found = {id(p) for module in backbone.first_stages(count) for p in module.parameters()}
        after = f"{backbone.stages[count]}." if count < len(backbone.stages) - 1 else None
        names = [n for n, p in net.named_parameters() if id(p) in found]
        assert all(id(p) in found for stage in backbone.stages[:count] for p in net.get_submodule(stage).parameters())
        assert not any(after and n.startswith(after) for n in names)
        assert 0 < len(names) < len(list(net.parameters()))
    for wrong in (-1, len(backbone.stages)):
        with pytest.raises(ValueError, match=f"{wrong} cannot be its first ones"):
            backbone.first_stages(wrong)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "mobilenetv3_small_050", "efficientnet_v2_s"])
def test_a_training_step_leaves_the_frozen_first_stages_as_they_are(name):
    torch.manual_seed(0)
    backbone, images = Backbone(name, SIZE).train(), torch.randn(4, 3, *SIZE)
    frozen = backbone.first_stages(2)
    for module in frozen:
        module.eval().requires_grad_(False)
    before = outputs_of_stages(backbone, images)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1)
    backbone(images).square().mean().backward()
    optimizer.step()
    after = outputs_of_stages(backbone, images)
    assert all(torch.equal(before[index], after[index]) for index in (0, 1))
    assert not torch.equal(before[2], after[2])
