from pathlib import Path

import pytest

from tests.train.conftest import config_of
from train.__main__ import main
from train.data.training_set import Augmentation
from train.fit.config import SHARES, UNRELATED

SMALL = {"small_image_size": (64, 64), "small_epochs": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"load_balance_weight": 5.0}, "load_balance_weight needs moe heads"),
        ({"heads": "moe", "experts": 2, "load_balance_weight": -1.0}, "load_balance_weight must be"),
        ({"experts": 3}, "heads must be"),
        ({"heads": "moe"}, "heads must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"imagenet_distillation_weight": float("inf")}, "imagenet_distillation_weight must be"),
        ({"linear_probe_steps": -1}, "linear_probe_steps must be a number from 0 on"),
        ({"cooldown_epochs": -1}, "cooldown_epochs must be"),
        ({"frozen_stages": -1}, "frozen_stages must be"),
        ({"epochs": 0}, "epochs must be a number above 0"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"shares": {"phone": 1.1}}, "phone must be from 0 to 1"),
        ({"shares": {"other_sources": 0.1}}, r"unknown are \['other_sources'\]"),
        ({"shares": {"phone": 0.0}}, "shares must name domains of thumbnails, "),
        ({"augmentation": Augmentation(paste=-0.1)}, "paste must be from 0 to 1"),
        ({"image_size": (128, 96)}, r"image_size must be a square; it is \(128, 96\)"),
        ({"small_image_size": (64, 64)}, "small_image_size needs small_epochs"),
        ({"small_epochs": 2}, "small_image_size needs small_epochs"),
        (SMALL | {"small_epochs": 4}, "above 0 and below epochs"),
        (SMALL | {"small_image_size": (64, 48)}, r"must be a square smaller than \(224, 224\)"),
        (SMALL | {"small_image_size": (224, 224)}, r"must be a square smaller than \(224, 224\)"),
        ({"backbone": "efficentnet_lite2"}, "unknown backbone 'efficentnet_lite2'; similar are"),
        ({"attributes": ("Color",)}, "an attribute's name is lower-case letters"),
    ],
)
def test_invalid_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(**settings)


@pytest.mark.parametrize("options", [("--epochs", "0"), ("--soft-targets", "file"), ("--heads", "wide")])
def test_invalid_option_is_a_sentence(options, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    printed = capsys.readouterr().err
    assert options[0].strip("-") in printed
    assert "Traceback" not in printed


def test_smoke_run_is_small_and_downloads_nothing():
    small = config_of(smoke=True, epochs=7, small_image_size=(160, 160), small_epochs=2).effective
    assert (small.image_size, small.small_image_size, small.small_epochs, small.epochs) == ((64, 64), (32, 32), 1, 2)
    assert small.weights == "none"
    assert config_of(smoke=True, weights="file").effective.weights == "file"
    assert config_of().effective == config_of()


def test_settings_are_what_decides_the_result():
    settings = config_of().settings()
    others = {"data": Path("x"), "output": Path("y"), "device": "cuda", "workers": 4, "resume": True}
    assert set(others) == set(UNRELATED)
    assert config_of(**others).settings() == settings
    assert config_of(seed=1).settings() != settings
    assert settings["attributes"] == ["color", "product_type", "season", "gender"]
    assert settings["shares"] == SHARES
    assert settings["augmentation"]["paste_worn"] == 0.12
    assert settings["ema_decay"] == 0.9995
