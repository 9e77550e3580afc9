"""Every kind of backbone through checkpoints and folding."""

import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn
from torchvision.transforms import functional as transforms

from fashion_model import FashionClassifier
from fashion_model.checkpoint import load_checkpoint
from fashion_model.models.backbones import Backbone, imagenet_state, load_state
from fashion_model.models.engine import fold_batch_norms
from tests.conftest import NAMES, random_model, saved_model

BACKBONES = (
    "test_efficientnet",
    "tf_efficientnet_lite0",
    "test_convnext",
    "mobilenetv3_small_050",
    "test_vit",
    "efficientnet_v2_s",
)


def backbone_of(name):
    """With random weights, whose batch norms do as much as trained ones."""
    torch.manual_seed(0)
    backbone = Backbone(name, (64, 64)).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return backbone


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_changes_outputs_by_rounding(name):
    backbone = backbone_of(name).double()  # float32 would hide small mistakes
    example, images = torch.randn(1, 3, 64, 64).double(), torch.randn(2, 3, 64, 64).double()
    folded = fold_batch_norms(backbone, example)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), backbone(images), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_checkpoint_of_each_backbone_is_served(name, tmp_path):
    model = random_model(name)
    loaded = load_checkpoint(saved_model(model, tmp_path / "checkpoint"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = model(images), loaded.model(images)
    assert all(torch.equal(found[attribute], expected[attribute]) for attribute in NAMES)
    prediction, overlays = FashionClassifier(loaded).predict_and_explain(Image.new("RGB", (40, 60), "red"))
    assert prediction.color.label.startswith("color ")
    assert [overlay.size for overlay in overlays.values()] == [(40, 60)] * 4


def test_an_unknown_backbone_names_similar_ones():
    with pytest.raises(ValueError, match="unknown backbone 'efficentnet_lite2'; similar are efficientnet_lite2"):
        Backbone("efficentnet_lite2", (64, 64))


def test_an_input_of_broken_patches_is_refused():
    with pytest.raises(ValueError, match=r"test_vit.*divisible by patch size \(16\)"):
        Backbone("test_vit", (64, 60))


@torch.no_grad()
@pytest.mark.parametrize(("name", "size"), [("tf_efficientnet_lite0", 224), ("tf_efficientnet_lite2", 260)])
def test_imagenet_weights_know_a_cat_and_a_cup(name, size):
    """With the published classifier: every tensor of the package has its place."""
    state = imagenet_state(name, (size, size))
    backbone = Backbone(name, (size, size)).eval()
    load_state(backbone, state, "ImageNet weights")
    photographs = [Image.fromarray(read()).resize((size, size)) for read in (data.chelsea, data.coffee)]
    images = torch.stack([(transforms.to_tensor(p) - 0.5) / 0.5 for p in photographs])
    logits = backbone(images).mean(dim=(2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
    cat, coffee = logits.argmax(dim=1).tolist()
    assert cat in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert coffee in (504, 967, 968)  # coffee mug, espresso, cup
