"""Networks side by side in one checkpoint."""

import dataclasses
import json
import shutil

import pytest
import torch
from PIL import Image

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
        size, dropout = (64, 48), 0.2 + number / 10
        config = ModelConfig.for_backbone(
            name, tiny_encoders.num_classes, image_size=size, mirrored=True, dropout=dropout
        )
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
    assert both.config == dataclasses.replace(one.config.unfitted(), backbone="efficientnet_lite0+efficientnet_lite2")
    assert (both.config.temperatures["color"], both.config.fashion_threshold) == (1.0, 0.0)
    images = torch.randn(2, 3, 64, 48)
    together = torch.cat([one.features(images), other.features(images)], dim=1)
    torch.testing.assert_close(both.features(images), together)
    for name, logits in both(images).items():
        torch.testing.assert_close(logits, (one(images)[name] + other(images)[name]) / 2, atol=2e-4, rtol=2e-3)
    for stage in range(len(both.backbone)):
        apart = [model.backbone[: stage + 1](images) for model in (one, other)]
        torch.testing.assert_close(both.backbone[: stage + 1](images), torch.cat(apart, dim=1))


def test_a_joined_network_with_a_mixture_goes_all_the_way(trained, cleaned, tmp_path):
    """From two trained networks to calibrated answers and an overlay."""
    one = load_checkpoint(trained)
    config = dataclasses.replace(one.config, backbone=PAIR[1])
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "other", MultiTaskClassifier(config), one.encoders, torch.float16)
    shutil.copy(trained / "trained_on.txt", tmp_path / "other")
    assert join([trained, tmp_path / "other"], tmp_path / "joined") == 0
    both, data = tmp_path / "both", ["--data", str(cleaned)]
    assert main(["heads", "--checkpoint", str(tmp_path / "joined"), "--output", str(both), *data]) == 0
    assert main(["calibrate", "--checkpoint", str(both), *data]) == 0
    assert main(["evaluate", "--checkpoint", str(both), *data]) == 0
    assert json.loads((both / "metrics.json").read_text())["gates"].keys() == set(NAMES)
    classifier = FashionClassifier.from_pretrained(both)
    assert classifier.config.temperatures["color"] != 1
    photograph = Image.open(ROOT / "fashion_model" / "examples" / "2650.jpg")
    assert sum(confidence for _, confidence in classifier.predict([photograph])[0].gender.top(9)) == pytest.approx(1)
    assert classifier.explain(photograph, "color", layers=(3, -1)).size == photograph.size


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
    refused(networks, "efficientnet_lite2 differs from efficientnet_lite0 (its own value, the other's): {'image_size'")
    another(second, tiny_encoders, image_size=(64, 48), mirrored=False)
    refused(networks, "{'mirrored': (False, True)}")
    another(second, tiny_encoders, mirrored=True, heads="moe", experts=2)
    refused(networks, "efficientnet_lite2 has moe heads; only linear ones can be joined")
    labels = {name: tuple(f"other {label}" for label in labels) for name, labels in tiny_encoders.labels.items()}
    another(second, LabelEncoders(labels), heads="linear", experts=0)
    refused(networks, "efficientnet_lite2 has other labels than efficientnet_lite0")
    (first / "trained_on.txt").write_text("one\n")
    refused(networks, "trained_on.txt does not hold one id a line")
    (first / "trained_on.txt").unlink()
    refused(networks, "has no trained_on.txt")
    refused([tmp_path / "nowhere", second], "nowhere is not a directory")
    (tmp_path / "joined").mkdir()
    assert join(networks, tmp_path / "joined") == 2
    assert "exists already" in capsys.readouterr().err
