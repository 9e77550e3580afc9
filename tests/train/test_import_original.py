"""Checkpoints of the project that this one grew from."""

import json

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_v2_s

from fashion_model import FashionClassifier
from fashion_model.checkpoint import load_checkpoint
from tests.conftest import ATTRIBUTES, PRODUCTS
from train.__main__ import main

CLASSES = {"baseColour": 3, "articleType": 4, "season": 5, "gender": 6}
HEADS = {"color_head": "baseColour", "type_head": "articleType", "season_head": "season", "gender_head": "gender"}


class Original(nn.Module):
    """The network as that project built it: torchvision's without its classifier, and four heads."""

    def __init__(self):
        super().__init__()
        self.backbone = efficientnet_v2_s(weights=None)
        self.backbone.classifier = nn.Identity()
        for head, column in HEADS.items():
            self.add_module(head, nn.Sequential(nn.Dropout(0.3), nn.Linear(1280, CLASSES[column])))

    def forward(self, images):
        pooled = self.backbone(images)
        return {column: getattr(self, head)(pooled) for head, column in HEADS.items()}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The network, and the files of its weights and labels."""
    torch.manual_seed(0)
    network, folder = Original().eval(), tmp_path_factory.mktemp("original")
    torch.save(network.state_dict(), folder / "model_efficientnet.pth")
    labels = {column: {str(i): f"{column} {i}" for i in range(count)} for column, count in CLASSES.items()}
    labels["articleType"]["0"] = "Tshirts"
    (folder / "label_encoders.json").write_text(json.dumps(labels), encoding="utf-8")
    return network, folder / "model_efficientnet.pth", folder / "label_encoders.json"


def imported(weights, labels, output):
    files = ("--weights", str(weights), "--labels", str(labels), "--output", str(output))
    return main(["import-original", *files, "--image-size", "64", "48"])


@torch.inference_mode()
def test_logits_are_those_of_the_original(original, tmp_path, capsys):
    network, *files = original
    assert imported(*files, tmp_path / "ours") == 0
    checkpoint = load_checkpoint(tmp_path / "ours")
    images = torch.randn(2, 3, 64, 48)
    logits, expected = checkpoint.model(images), network(images)
    for attribute in ATTRIBUTES:
        assert torch.equal(logits[attribute.name], expected[attribute.column])
        assert checkpoint.encoders.labels[attribute.name][2] == f"{attribute.column} 2"
    assert checkpoint.encoders.words.singular == {"Tshirts": "T-shirt"}
    (prediction,) = FashionClassifier(checkpoint).predict([next((PRODUCTS / "images").iterdir())])
    assert (prediction.fashion_score, prediction.is_fashion) == (0, True)  # the original has no fashion score
    assert imported(*files, tmp_path / "ours") == 2
    assert "exists already" in capsys.readouterr().err


class Code:
    """Unpickling it runs something."""

    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: Code(), "holds no state dict"),
        (lambda state: state | {"gender_head.1.bias": torch.zeros(5)}, "size mismatch"),
    ],
)
def test_other_weights_are_refused(original, tmp_path, capsys, change, message):
    network, _, labels = original
    torch.save(change(network.state_dict()), tmp_path / "changed.pth")
    assert imported(tmp_path / "changed.pth", labels, tmp_path / "ours") == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "code ran" not in printed.out
    assert not (tmp_path / "ours").exists()
