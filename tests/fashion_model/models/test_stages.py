"""The stages of backbones: their maps, dividing the network there, and freezing the first ones."""

import pytest
import torch
from torch import nn

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


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_stages_are_maps_of_decreasing_size(name):
    backbone, images = Backbone(name, SIZE).eval(), torch.randn(2, 3, *SIZE)
    maps = [backbone.as_map(output) for output in backbone.outputs(images, range(len(backbone.stages)))]
    assert torch.equal(maps[-1], backbone(images))
    assert maps[-1].shape[:2] == (2, backbone.channels)
    assert len(maps) == len(backbone.stages) >= 4
    sizes = [tuple(output.shape[-2:]) for output in maps]
    assert sizes == sorted(sizes, reverse=True)
    for stage, output in zip(backbone.stages[:-1], maps, strict=False):
        assert (output.ndim, len(output)) == (4, 2)
        assert backbone.net.get_submodule(stage) is not None


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_the_rest_goes_on_from_any_stage(name):
    """Also from other outputs than those of the images, and from maps in their place."""
    backbone, images = Backbone(name, SIZE).eval(), torch.randn(2, 3, *SIZE)
    expected = backbone.features(images)
    for layer, output in enumerate(backbone.outputs(images, range(len(backbone.stages)))):
        assert torch.equal(backbone.between(layer)(output), expected)
        assert torch.equal(backbone.up_to(layer)(images), output)
        assert torch.equal(backbone.with_map(output, backbone.as_map(output)), output)
        swapped = backbone.with_map(output.flip(0), backbone.as_map(output.flip(0)))
        torch.testing.assert_close(backbone.between(layer)(swapped), expected.flip(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_first_stages_hold_all_their_parameters(name):
    backbone = Backbone(name, SIZE)
    assert backbone.first_stages(0) == []
    seen = 0
    for count in range(1, len(backbone.stages)):
        (first,) = backbone.first_stages(count)
        held = {id(p) for p in first.parameters()}
        of_stages = [p for s in backbone.stages[:count] for p in backbone.net.get_submodule(s).parameters()]
        assert held >= {id(p) for p in of_stages}
        assert seen <= len(held) < len(list(backbone.parameters()))
        seen = len(held)
    for wrong in (-1, len(backbone.stages)):
        with pytest.raises(ValueError, match=f"{wrong} cannot be its first ones"):
            backbone.first_stages(wrong)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "mobilenetv3_small_050", "efficientnet_v2_s"])
def test_a_step_leaves_frozen_stages_as_they_are(name):
    torch.manual_seed(0)
    backbone, images = Backbone(name, SIZE).train(), torch.randn(4, 3, *SIZE)
    for module in backbone.first_stages(2):
        module.eval().requires_grad_(False)
    assert any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules() if not m.training) or name == "test_vit"
    before = backbone.outputs(images, (0, 1, 2))
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1)
    backbone(images).square().mean().backward()
    optimizer.step()
    after = backbone.outputs(images, (0, 1, 2))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pit_ti_224", r"its output \(1, 1, 256\) is no feature map"),  # class tokens only
        ("coat_tiny", "Only token or avg pooling is supported"),
        ("efficientvit_b0", "Cannot disable pooling"),
    ],
)
def test_a_network_without_a_map_is_refused(name, message):
    with pytest.raises(
        ValueError, match=rf"backbone '{name}' cannot be used: .*({message}|AssertionError)"
    ):  # older releases of timm say nothing
        Backbone(name, (224, 224))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "stages"),
    [("gmlp_ti16_224", 30), ("levit_128s", 3), ("twins_svt_small", 1), ("tnt_s_legacy_patch16_224", 1)],
)
def test_tokens_of_other_families_become_maps(name, stages):
    """Of networks without a patch size, with shrinking grids, or whose stages cannot be divided."""
    backbone = Backbone(name, (224, 224)).eval()
    assert len(backbone.stages) == stages
    feature_map = backbone(torch.randn(1, 3, 224, 224))
    assert feature_map.shape[1] == backbone.channels
    assert feature_map.shape[2] == feature_map.shape[3] > 1
