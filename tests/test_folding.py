"""Batch norms folded into convolutions: the same answers."""

import copy

import pytest
import torch
from torch import nn

from fashion_model.backbones import backbone_named
from fashion_model.folding import fold_batch_norms


def with_statistics(name):
    """A backbone for 64 × 48 pixels with random weights, whose batch norms do as much as trained ones."""
    torch.manual_seed(0)
    network = backbone_named(name).build((64, 48)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@torch.inference_mode()
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_v2_s", "vit_ti_8"])
def test_every_stage_gives_the_same_without_batch_norms(name):
    network = with_statistics(name).double()  # float32 would hide small mistakes in its own
    folded = fold_batch_norms(copy.deepcopy(network))
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert len(folded) == len(network)
    expected = found = torch.randn(2, 3, 64, 48).double()
    for stage, folded_stage in zip(network, folded, strict=True):
        expected, found = stage(expected), folded_stage(found)
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)
    assert expected.std() > 0.01


@torch.inference_mode()
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_v2_s", "vit_ti_8"])
def test_pooled_features_are_the_same_but_for_rounding(name):
    network, images = with_statistics(name), torch.randn(2, 3, 64, 48)
    expected = network(images).mean(dim=(2, 3))
    found = fold_batch_norms(network)(images).mean(dim=(2, 3))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_network_without_batch_norms_stays_as_it_is():
    network = backbone_named("vit_b_16").build((32, 32)).eval()
    before, modules = dict(network.state_dict()), list(network.modules())
    assert fold_batch_norms(network) is network
    assert list(network.modules()) == modules
    assert network.state_dict().keys() == before.keys()
    assert all(tensor.data_ptr() == before[key].data_ptr() for key, tensor in network.state_dict().items())


def test_what_is_trained_is_not_folded():
    with pytest.raises(AssertionError):
        fold_batch_norms(backbone_named("efficientnet_lite0").build((32, 32)).train())
