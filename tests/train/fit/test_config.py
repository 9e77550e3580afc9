from pathlib import Path

import pytest

from train.__main__ import main
from train.fit.config import FitConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--load-balance-weight", "5"], "load_balance_weight needs moe heads"),
        (["--heads", "moe", "--experts", "2", "--load-balance-weight", "-1"], "load_balance_weight must be"),
        (["--experts", "3"], "heads must be"),
        (["--heads", "moe"], "heads must be"),
        (["--ema-decay", "1"], "ema_decay must be at least 0 and below 1"),
        (["--ema-decay", "nan"], "ema_decay must be"),
        (["--dropout", "1"], "dropout must be"),
        (["--distillation-weight", "1.1"], "distillation_weight must be from 0 to 1"),
        (["--imagenet-distillation-weight", "inf"], "imagenet_distillation_weight must be"),
        (["--fashion-loss-weight", "-1"], "fashion_loss_weight must be a number from 0 on"),
        (["--linear-probe-steps", "-1"], "linear_probe_steps must be"),
        (["--epochs", "-1"], "epochs must be"),
        (["--epochs", "0"], "nothing is trained"),
        (["--batch-size", "0"], "batch_size must be a number above 0"),
        (["--learning-rate", "0"], "learning_rate must be"),
        (["--frozen-stages", "-1"], "frozen_stages must be"),
        (["--image-size", "128", "96"], "image_size must be a square; it is (128, 96)"),
        (["--small-image-size", "64", "64"], "small_image_size needs small_epochs"),
        (["--small-epochs", "2"], "small_image_size needs small_epochs"),
        (["--small-image-size", "64", "64", "--small-epochs", "4"], "above 0 and below epochs"),
        (["--small-image-size", "64", "48", "--small-epochs", "2"], "must be a square smaller than (192, 192)"),
        (["--small-image-size", "200", "200", "--small-epochs", "2"], "must be a square smaller than (192, 192)"),
        (["--backbone", "efficentnet_lite2"], "unknown backbone 'efficentnet_lite2'; similar are"),
        (["--attributes", "Color"], "an attribute's name is lower-case letters"),
    ],
)
def test_invalid_settings_are_a_sentence_and_an_exit_status(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("options", [["--linear-probe-steps", "1.5"], ["--teachers", "runs/x"], ["--heads", "wide"]])
def test_what_is_no_setting_is_refused(options, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    assert options[0] in capsys.readouterr().err


def test_a_smoke_run_is_small_and_needs_no_download():
    config = FitConfig(Path("data"), Path("run"), smoke=True, epochs=7, small_image_size=(160, 160), small_epochs=2)
    small = config.effective
    assert (small.image_size, small.small_image_size, small.small_epochs, small.epochs) == ((64, 64), (32, 32), 1, 2)
    assert small.weights == "none"
    assert FitConfig(Path("data"), Path("run"), smoke=True, weights="file").effective.weights == "file"
    normal = FitConfig(Path("data"), Path("run"))
    assert normal.effective is normal


def test_settings_that_do_not_change_the_result_are_not_compared():
    first = FitConfig(Path("data"), Path("run"), workers=1)
    second = FitConfig(Path("other"), Path("else"), workers=4, resume=True)
    assert first.settings() == second.settings()
    assert first.settings() != FitConfig(Path("data"), Path("run"), seed=1).settings()
    assert first.settings()["attributes"] == ["color", "product_type", "season", "gender"]
