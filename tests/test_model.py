import dataclasses

import pytest
import torch

from fashion_model.attributes import NAMES
from fashion_model.backbones import BACKBONES, WeightsError, backbone_named, load_pretrained
from fashion_model.model import ModelConfig, MultiTaskClassifier


@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_backbone_has_a_feature_map_and_four_heads(backbone, tiny_encoders):
    config = ModelConfig.for_backbone(backbone, tiny_encoders.num_classes)
    model = MultiTaskClassifier(config).eval()
    images = torch.randn(2, 3, 64, 32)
    features = model.features(images)
    assert features.shape == (2, BACKBONES[backbone].channels, 2, 1)
    logits = model(images)
    assert {name: tuple(x.shape) for name, x in logits.items()} == {n: (2, c) for n, c in config.num_classes.items()}
    for name, x in model.classify(features).items():
        assert torch.equal(x, logits[name])


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(tiny_model):
    config = dataclasses.replace(tiny_model.config, temperatures=dict.fromkeys(NAMES, 1.0) | {"color": 2.0})
    model = MultiTaskClassifier(config).eval()
    images = torch.randn(2, 3, 32, 24)
    logits = model(images)
    probabilities = model.calibrate(logits)
    assert torch.allclose(probabilities["color"], torch.softmax(logits["color"] / 2, 1))
    assert torch.allclose(probabilities["season"], torch.softmax(logits["season"], 1))


def test_a_config_survives_the_round_trip(tiny_model):
    assert ModelConfig.from_dict(tiny_model.config.to_dict()) == tiny_model.config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"surprise": 1}, "unknown .*surprise"),
        ({"backbone": "resnet"}, "unknown backbone"),
        ({"heads": "hydra"}, "unknown heads"),
        ({"image_size": [0, 96]}, "image_size"),
        ({"num_classes": {"color": 3}}, "num_classes"),
        ({"temperatures": dict.fromkeys(NAMES, 0.0)}, "temperatures"),
        ({"std": "wide"}, "std"),
        ({"dropout": "a"}, "dropout"),
        ({"dropout": 1}, "dropout"),
        ({"image_size": [32.5, 24]}, "image_size"),
        ({"image_size": [10**6, 10**6]}, "image_size"),
        ({"image_size": [64, 64]}, "proportions of thumbnail_size"),
        ({"thumbnail_size": [80]}, "thumbnail_size"),
        ({"jpeg_quality": 0}, "jpeg_quality"),
        ({"jpeg_quality": 75.5}, "jpeg_quality"),
        ({"fashion_threshold": float("inf")}, "fashion_threshold"),
        ({"fashion_threshold": None}, "fashion_threshold"),
        ({"num_classes": dict.fromkeys(NAMES, 3.0)}, "num_classes"),
        ({"temperatures": dict.fromkeys(NAMES, float("nan"))}, "temperatures"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused_by_name(tiny_model, change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(tiny_model.config.to_dict() | change)


def test_pretrained_weights_load_from_a_file_whatever_their_names(tmp_path):
    source, target = (backbone_named("efficientnet_lite0").build() for _ in range(2))
    renamed = {f"layer.{i}": t for i, t in enumerate(source.state_dict().values())}
    torch.save(renamed | {"_fc.weight": torch.zeros(1000, 1280)}, tmp_path / "weights.pth")
    load_pretrained(target, "efficientnet_lite0", str(tmp_path / "weights.pth"))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_weights_that_do_not_fit_or_do_not_exist_are_an_error(tmp_path):
    network = backbone_named("efficientnet_lite0").build()
    with pytest.raises(WeightsError, match="no such weights file"):
        load_pretrained(network, "efficientnet_lite0", str(tmp_path / "nothing.pth"))
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold"):
        load_pretrained(network, "efficientnet_lite0", str(tmp_path / "other.pth"))
