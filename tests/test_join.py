"""Networks side by side in one checkpoint."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES, LabelEncoders
from fashion_model.backbones import backbone_named, load_pretrained
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from fashion_model.model import ModelConfig, MultiTaskClassifier
from tests.conftest import ROOT
from train.__main__ import main

PAIR = "efficientnet_lite0", "efficientnet_lite2"


@pytest.fixture
def networks(tiny_encoders, tmp_path):
    """Two checkpoint directories with random weights, calibrated, trained on different products."""
    for number, name in enumerate(PAIR):
        torch.manual_seed(number)
        config = ModelConfig.for_backbone(name, tiny_encoders.num_classes, image_size=(64, 48), mirrored=True)
        config = dataclasses.replace(config, temperatures=dict.fromkeys(NAMES, 2.0 + number), fashion_threshold=0.5)
        save_checkpoint(tmp_path / name, MultiTaskClassifier(config), tiny_encoders, torch.float16)
        (tmp_path / name / "trained_on.txt").write_text(f"7\n{number}\n")
    return [tmp_path / name for name in PAIR]


def join(networks, output):
    return main(["join", *map(str, networks), "--output", str(output)])


def another(directory, encoders, **changes):
    """The checkpoint in `directory` with another configuration, and random weights."""
    config = dataclasses.replace(load_checkpoint(directory).config, **changes)
    save_checkpoint(directory, MultiTaskClassifier(config), encoders)


@torch.inference_mode()
def test_joined_networks_answer_with_the_mean_of_their_logits(networks, tmp_path, capsys):
    assert join(networks, tmp_path / "joined") == 0
    assert "run train novelty" in capsys.readouterr().out
    assert (tmp_path / "joined" / "trained_on.txt").read_text() == "0\n1\n7\n"
    one, other, both = (load_checkpoint(path).model for path in (*networks, tmp_path / "joined"))
    assert both.config == one.config.unfitted(backbone="efficientnet_lite0+efficientnet_lite2")
    assert (both.config.temperatures["color"], both.config.fashion_threshold) == (1.0, 0.0)
    images = torch.randn(2, 3, 64, 48)
    together = torch.cat([one.features(images), other.features(images)], dim=1)
    torch.testing.assert_close(both.features(images), together)
    for name, logits in both(images).items():
        torch.testing.assert_close(logits, (one(images)[name] + other(images)[name]) / 2, atol=2e-4, rtol=2e-3)
    for stage in range(len(both.backbone)):
        apart = [model.backbone[: stage + 1](images) for model in (one, other)]
        torch.testing.assert_close(both.backbone[: stage + 1](images), torch.cat(apart, dim=1))


def test_a_joined_network_predicts_and_shows_where_it_looked(networks, tmp_path):
    assert join(networks, tmp_path / "joined") == 0
    classifier = FashionClassifier.from_pretrained(tmp_path / "joined")
    photograph = ROOT / "fashion_model" / "examples" / "2650.jpg"
    (prediction,) = classifier.predict([photograph])
    assert prediction.color.top(3)[0][1] == prediction.color.confidence
    overlays = [np.asarray(classifier.explain(photograph, "color", layers=layers)) for layers in ((-1,), (3,), (3, -1))]
    assert all((a != b).any() for a, b in itertools.pairwise(overlays))


@torch.inference_mode()
def test_the_pair_starts_from_the_imagenet_weights_of_each():
    name = "+".join(PAIR)
    pair = backbone_named(name).build((64, 48)).eval()
    load_pretrained(pair, name, "imagenet")
    images, features = torch.randn(1, 3, 64, 48), []
    for part in PAIR:
        network = backbone_named(part).build((64, 48)).eval()
        load_pretrained(network, part, "imagenet")
        features.append(network(images))
    torch.testing.assert_close(pair(images), torch.cat(features, dim=1))


def test_networks_that_do_not_belong_together_are_an_error(networks, tiny_encoders, tmp_path, capsys):
    def refused(given, reason):
        assert join(given, tmp_path / "joined") == 2
        assert reason in capsys.readouterr().err
        assert not (tmp_path / "joined").exists()

    refused(networks[:1], "there is no backbone efficientnet_lite0 of several; there is efficientnet_lite0+")
    refused(networks[::-1], "there is no backbone efficientnet_lite2+efficientnet_lite0 of several")
    first, second = networks
    another(second, tiny_encoders, image_size=(128, 96))
    refused(networks, "efficientnet_lite2 looks at photographs otherwise than efficientnet_lite0")
    another(second, tiny_encoders, image_size=(64, 48), heads="moe", experts=2)
    refused(networks, "efficientnet_lite2 has moe heads; only linear ones can be joined")
    labels = {name: tuple(f"other {label}" for label in labels) for name, labels in tiny_encoders.labels.items()}
    another(second, LabelEncoders(labels), heads="linear", experts=0)
    refused(networks, "efficientnet_lite2 has other labels than efficientnet_lite0")
    (first / "trained_on.txt").unlink()
    refused(networks, "has no trained_on.txt")
    (tmp_path / "joined").mkdir()
    assert join(networks, tmp_path / "joined") == 2
    assert "exists already" in capsys.readouterr().err
