"""Backbones of every kind: their weights, their stages, dividing the network there, and folding its batch norms."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import efficientnet_v2_s

from fashion_model.models.backbones import Backbone, WeightsError, file_state, imagenet_state, load_state
from fashion_model.models.engine import fold_batch_norms
from fashion_model.models.stages import Without, last_calls

SIZE = (64, 48)  # height and width differ, so that they cannot be mixed up
BACKBONES = (
    "test_efficientnet",
    "test_convnext",
    "mobilenetv3_small_050",
    "test_vit",
    "test_mambaout",  # channels last
    pytest.param("efficientnet_v2_s", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_changes_outputs_by_rounding(name):
    torch.manual_seed(0)
    backbone = Backbone(name, SIZE).eval().double()  # float32 would hide small mistakes
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # as far from doing nothing as trained ones
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    images = torch.randn(2, 3, *SIZE).double()
    folded = fold_batch_norms(backbone, images[:1])
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), backbone(images), atol=1e-8, rtol=1e-8)


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_network_goes_on_from_any_stage(name):
    """Also from other outputs than those of the images, and from maps in their place."""
    backbone, images = Backbone(name, SIZE).eval(), torch.randn(2, 3, *SIZE)
    (expected,), outputs = backbone.outputs(images, [-1]), backbone.outputs(images, range(len(backbone.stages)))
    maps = [backbone.as_map(output) for output in outputs]
    assert torch.equal(maps[-1], backbone(images))
    assert maps[-1].shape[:2] == (2, backbone.channels)
    sizes = [tuple(output.shape[2:]) for output in maps]
    assert len(sizes) >= 4
    assert sizes == sorted(sizes, reverse=True)
    for layer, output in enumerate(outputs):
        assert torch.equal(backbone.between(layer)(output), expected)
        assert torch.equal(backbone.up_to(layer)(images), output)
        assert torch.equal(backbone.with_map(output, maps[layer]), output)
        swapped = backbone.with_map(output.flip(0), maps[layer].flip(0))
        torch.testing.assert_close(backbone.between(layer)(swapped), expected.flip(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("test_vit", (64, 60), r"test_vit.*divisible by patch size \(16\)"),
        ("pit_ti_224", (224, 224), "'pit_ti_224' cannot be used"),  # class tokens only
        ("efficientvit_b0", (224, 224), "cannot be used: .*(Cannot disable pooling|AssertionError)"),
    ],
)
def test_network_without_a_map_is_refused(name, size, message):
    with pytest.raises(ValueError, match=message):
        Backbone(name, size)


@torch.no_grad()
def test_blocks_with_named_arguments_divide():
    """BEiT gives its blocks the name of an argument that is None."""
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}
    net = timm.models.beit.Beit(**sizes, num_classes=0, global_pool="").eval()
    images = torch.randn(2, 3, 32, 32)
    calls, output = last_calls(net, ["blocks.0", "blocks.1", "blocks.2"], images)
    names = [name for name, _ in calls][1:]  # what follows the first of them
    assert len([name for name in names if name.startswith("blocks")]) == 3
    rest = nn.Sequential(*map(net.get_submodule, names))
    assert torch.equal(rest(Without(net, names)(images)), output)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_weights_of_the_hub_fit_the_input_size(hub, tmp_path, name):
    torch.manual_seed(0)
    theirs = timm.create_model(name)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    repository = theirs.pretrained_cfg["hf_hub_id"]
    hub.add("model", repository, {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()})
    backbone = Backbone(name, SIZE)
    load_state(backbone, imagenet_state(name, SIZE), "ImageNet weights")
    own, given = backbone.net.state_dict(), theirs.state_dict()
    resized = {key for key in own if own[key].shape != given[key].shape}
    assert resized == ({"pos_embed"} if name == "test_vit" else set())
    assert all(torch.equal(own[key], given[key]) for key in own.keys() - resized)


def test_weights_out_of_reach_name_other_ways(hub):
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(.*\); connect to the Hub, name a local file"):
        imagenet_state("test_convnext", SIZE)


@pytest.mark.parametrize("name", BACKBONES)
def test_files_of_weights_load(tmp_path, name):
    """Those of a whole classifier and of the bare network, as pickle and as safetensors."""
    size = {"img_size": SIZE} if name == "test_vit" else {}
    whole = efficientnet_v2_s(weights=None) if name == "efficientnet_v2_s" else timm.create_model(name, **size)
    for theirs, path in ((whole, tmp_path / "x.pth"), (Backbone(name, SIZE).net, tmp_path / "x.safetensors")):
        state = theirs.state_dict()
        save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
        backbone = Backbone(name, SIZE)
        load_state(backbone, file_state(path), str(path))
        own = {key.removeprefix("features."): tensor for key, tensor in state.items()}
        assert all(torch.equal(tensor, own[key]) for key, tensor in backbone.net.state_dict().items())


def test_weights_that_do_not_fit_are_named():
    backbone = Backbone("test_efficientnet", SIZE)
    state = backbone.net.state_dict()
    for wrong, lacking in (({"epoch": torch.zeros(3)}, len(state)), (state | {"bn1.bias": torch.zeros(99)}, 1)):
        with pytest.raises(WeightsError, match=f"x lacks {lacking} of {len(state)} tensors in their shapes: "):
            load_state(backbone, wrong, "x")


class Evil:
    """Makes a file where the tests run when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize("content", [b"", b"Dear Sir" * 50, pickle.dumps({"conv_stem.weight": Evil()})])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_file_that_holds_no_weights_is_an_error(tmp_path, monkeypatch, ending, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights.{ending}"
    with pytest.raises(WeightsError, match=f"weights.{ending}: no such weights file"):
        file_state(path)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"weights.{ending} holds no state dict"):
        file_state(path)
    assert list(tmp_path.iterdir()) == [path]


@torch.inference_mode()
def test_patch_tokens_become_the_feature_map():
    backbone, images = Backbone("test_vit", SIZE).eval(), torch.randn(2, 3, *SIZE)
    tokens = backbone.net.forward_features(images)
    assert tokens.shape == (2, 1 + 4 * 3, 64)
    assert torch.equal(backbone(images), tokens[:, 1:].transpose(1, 2).reshape(2, 64, 4, 3))
    without_patch_size = Backbone("levit_128s", (224, 224)).eval()
    assert without_patch_size(torch.randn(1, 3, 224, 224)).shape == (1, without_patch_size.channels, 4, 4)
