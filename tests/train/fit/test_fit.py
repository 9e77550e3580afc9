"""`train fit` as a command: checkpoint directory, resume, attributes, errors."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fashion_model import FashionClassifier
from fashion_model.checkpoint import load_checkpoint, weight_files
from fashion_model.images import open_image
from tests.conftest import NAMES, ROOT
from tests.train.conftest import smoke_fit, trainer_for
from train.__main__ import main
from train.fit.command import FIT, LOG, STATE, _save_checkpoint, best_entry


def test_fit_writes_a_checkpoint_directory(trained, cleaned):
    assert {path.name for path in trained.iterdir()} == {
        "model.safetensors",
        "config.json",
        "label_encoders.json",
        "trained_on.txt",
        "training",
    }
    log = pd.read_csv(trained / LOG)
    assert log["epoch"].tolist() == [1, 2]
    assert np.isfinite(log["loss"]).all()
    assert log["validation_nll"].tolist() == pytest.approx(log["thumbnails_nll_sum"].tolist())
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    trained_ids = {int(line) for line in (trained / "trained_on.txt").read_text().split()}
    assert trained_ids == set(table.loc[table["split"] == "train", "id"])


def test_the_best_epoch_is_chosen_by_every_domain(trained_on_all):
    log = pd.read_csv(trained_on_all / LOG)
    domains = ["thumbnails", "high_resolution", "phone", "everyday"]
    total = sum(log[f"{domain}_nll_sum"] for domain in domains)
    assert log["validation_nll"].tolist() == pytest.approx(total.tolist())
    assert {column for column in log if column.startswith("everyday_")} == {"everyday_fashion", "everyday_nll_sum"}
    assert "phone_season" not in log
    settings = json.loads((trained_on_all / FIT).read_text())
    assert set(settings["domains"]) == {*domains, "on_model", "negatives"}
    assert settings["validation"] == domains
    tensors = load_file(trained_on_all / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert tensors["fashion.weight"].any()


def test_the_metrics_of_an_epoch_are_what_predict_says(trained_on_all, prepared):
    log = pd.read_csv(trained_on_all / LOG)
    chosen = log.loc[log["validation_nll"].idxmin()]
    classifier = FashionClassifier.from_pretrained(trained_on_all)
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    rows = table[table["split"] == "validation"]
    predictions = classifier.predict([prepared / "phone" / "images" / f"{image}.jpg" for image in rows["image"]])
    for name, column in (("color", "colors"), ("gender", "genders")):
        labels = classifier.encoders.labels[name]
        known = [
            (p, n.split("|")) for p, n in zip(predictions, rows[column], strict=True) if {*n.split("|")} & {*labels}
        ]
        right = np.mean([p[name].label in names for p, names in known])
        assert chosen[f"phone_{name}"] == pytest.approx(right, abs=1.01 / len(known))
    everyday = classifier.predict(sorted((prepared / "everyday" / "validation").iterdir()))
    assert chosen["everyday_fashion"] == pytest.approx(np.mean([not p.is_fashion for p in everyday]), abs=0.13)


def test_a_fifth_attribute_is_trained_and_served_by_flags_alone(cleaned, imagenet_file, tmp_path):
    """Through fit, calibration, evaluation, report, prediction and the command line."""
    checkpoint = tmp_path / "checkpoint"
    options = ("--weights", str(imagenet_file), "--attributes", *NAMES, "usage")
    assert main(smoke_fit(cleaned, checkpoint, *options)) == 0
    measure = ["--checkpoint", str(checkpoint), "--data", str(cleaned), "--device", "cpu"]
    for command in ("calibrate", "evaluate", "report"):
        assert main([command, *measure]) == 0
    assert "| Usage |" in (checkpoint / "README.md").read_text()
    assert "Usage: confusion matrix" in (checkpoint / "report" / "report.html").read_text()
    classifier = FashionClassifier.from_pretrained(checkpoint)
    assert [attribute.name for attribute in classifier.attributes] == [*NAMES, "usage"]
    photograph = next(iter((cleaned / "images").iterdir()))
    prediction, overlays = classifier.predict_and_explain(photograph)
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    assert prediction.usage.label in set(table["usage"])
    assert set(overlays) == {*NAMES, "usage"}
    command = [sys.executable, "-m", "fashion_model", "predict", str(photograph), "--checkpoint", str(checkpoint)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[0].endswith("error,is_fashion,usage,usage_confidence,fashion_score,fashion_threshold")
    assert prediction.usage.label in printed


@pytest.mark.parametrize(
    "options",
    [
        ("--backbone", "efficientnet_v2_s", "--frozen-stages", "2"),
        ("--backbone", "test_vit", "--linear-probe-steps", "1"),
        ("--backbone", "test_convnext", "--frozen-stages", "1"),
        ("--backbone", "mobilenetv3_small_050", "--heads", "moe", "--experts", "3", "--load-balance-weight", "1"),
    ],
)
def test_other_networks_go_the_same_way(cleaned, tmp_path, options):
    assert main(smoke_fit(cleaned, tmp_path, *options)) == 0
    assert main(["evaluate", "--checkpoint", str(tmp_path), "--data", str(cleaned), "--device", "cpu"]) == 0
    card = (tmp_path / "README.md").read_text()
    assert ("gate weights on catalogue thumbnails" in card) == ("moe" in options)
    classifier = FashionClassifier.from_pretrained(tmp_path)
    assert classifier.config.backbone == options[1]
    photograph = next(iter((cleaned / "images").iterdir()))
    assert classifier.explain(photograph, "season").size == open_image(photograph).size


@pytest.fixture(scope="module")
def interrupted(prepared, trained_on_all, all_the_way, tmp_path_factory):
    """The run of `trained_on_all`, killed after its first epoch; it replaces an older run."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    (folder / "training").mkdir(parents=True)
    shutil.copyfile(trained_on_all / FIT, folder / FIT)
    command = [sys.executable, "-m", "train", *smoke_fit(prepared, folder, *all_the_way)]
    state = folder / STATE
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 180
        while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be interrupted"
    assert len(torch.load(state, weights_only=True)["history"]) == 1
    return folder


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_result(interrupted, trained_on_all, prepared, all_the_way, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    assert main(smoke_fit(prepared, folder, *all_the_way, "--resume")) == 0
    tensors, expected = load_file(folder / "model.safetensors"), load_file(trained_on_all / "model.safetensors")
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    for file in ("trained_on.txt", "config.json", FIT):
        assert (folder / file).read_text() == (trained_on_all / file).read_text()


@pytest.mark.slow
def test_the_settings_of_an_earlier_run_go_when_another_begins(interrupted):
    assert not (interrupted / FIT).exists()


@pytest.mark.slow
def test_an_epoch_that_is_worse_is_not_saved(interrupted, prepared, all_the_way, tmp_path):
    """As if the first epoch had been better than any can be."""
    folder = shutil.copytree(interrupted, tmp_path / "run")
    state = torch.load(folder / STATE, weights_only=True)
    state["history"][0]["validation_nll"] = 0.0
    torch.save(state, folder / STATE)
    saved = {name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json")}
    assert main(smoke_fit(prepared, folder, *all_the_way, "--resume")) == 0
    assert {name: (folder / name).read_bytes() for name in saved} == saved
    assert pd.read_csv(folder / LOG)["validation_nll"].iloc[1] > 0


def test_the_best_epoch_has_the_final_input_size():
    def entry(epoch, side, loss):
        return {"epoch": epoch, "image_side": side, "validation_nll": loss}

    assert best_entry([entry(1, 64, 2.0), entry(2, 64, 1.5), entry(3, 64, 1.7)])["epoch"] == 2
    assert best_entry([entry(1, 32, 1.0), entry(2, 64, 1.5), entry(3, 64, 1.7)])["epoch"] == 2
    assert best_entry([entry(1, 32, 1.0), entry(2, 64, 1.5)])["epoch"] == 2


def test_resume_refuses_a_run_with_other_settings(trained, cleaned, imagenet_file, capsys):
    resume = ("--weights", str(imagenet_file), "--resume")
    for option in (("--seed", "1"), ("--frozen-stages", "1"), ("--fashion-loss-weight", "1")):
        assert main(smoke_fit(cleaned, trained, *resume, *option)) == 2
        setting = option[0][2:].replace("-", "_")
        assert f"belongs to another run: {setting} {option[1]}" in capsys.readouterr().err


def test_resume_refuses_other_data(trained, cleaned, prepared, imagenet_file, tmp_path, capsys):
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    train = table["split"] == "train"
    table.loc[train, "season"] = table.loc[train, "season"].iloc[::-1].to_numpy()
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    for data, what in ((moved, "rows "), (prepared, "domains ")):
        assert main(smoke_fit(data, trained, "--weights", str(imagenet_file), "--resume")) == 2
        printed = capsys.readouterr().err
        assert "belongs to another run" in printed
        assert what in printed


def test_a_finished_run_has_nothing_left_to_resume(trained, cleaned, imagenet_file, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "model.safetensors").read_bytes()
    assert main(smoke_fit(cleaned, run, "--weights", str(imagenet_file), "--resume")) == 0
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert (run / "model.safetensors").read_bytes() == before


def test_the_weights_of_a_larger_network_are_saved_in_files_that_a_space_takes(cleaned, tmp_path):
    trainer, data = trainer_for(cleaned, tmp_path / "run", backbone="tf_efficientnet_lite2")
    _save_checkpoint(tmp_path / "run", trainer, data, data.trained_on)
    files = weight_files(tmp_path / "run")
    assert len(files) > 1
    assert all(file.stat().st_size < 10_000_000 for file in files)
    assert load_checkpoint(tmp_path / "run").config.backbone == "tf_efficientnet_lite2"


def with_labels(checkpoint, folder, column="season", label="Monsoon"):
    """A copy of a checkpoint with one other label."""
    other = shutil.copytree(checkpoint, folder)
    encoders = json.loads((other / "label_encoders.json").read_text())
    encoders[column]["0"] = label
    (other / "label_encoders.json").write_text(json.dumps(encoders))
    return other


def test_checkpoints_that_do_not_fit_are_refused_as_weights(trained, cleaned, tmp_path, capsys):
    other = with_labels(trained, tmp_path / "other")
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(other))) == 2
    assert "other attributes or labels" in capsys.readouterr().err
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(trained), "--backbone", "test_vit")) == 2
    assert "has backbone tf_efficientnet_lite0, linear heads" in capsys.readouterr().err
    silent = shutil.copytree(trained, tmp_path / "silent")
    (silent / "trained_on.txt").unlink()
    for directory, reason in ((silent, "has no trained_on.txt"), (tmp_path / "typo", "no such weights file")):
        assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(directory))) == 2
        assert f"{directory}" in (printed := capsys.readouterr().err)
        assert reason in printed


def test_a_missing_or_damaged_image_is_named(cleaned, tmp_path, capsys):
    moved = shutil.copytree(cleaned, tmp_path / "data")
    table = pd.read_csv(moved / "cleaned_styles.csv")
    trained, validated = (
        moved / "images" / f"{table.loc[table['split'] == split, 'id'].iloc[1]}.jpg"
        for split in ("train", "validation")
    )
    validated.write_bytes(b"")
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"fit: {validated}: The file is empty."
    trained.write_bytes(b"")
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"fit: {trained}: The file is empty."
    trained.unlink()
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert f"fit: {trained} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate", "calibrate", "soft-targets", "report"])
def test_missing_data_is_a_sentence_and_an_exit_status(command, trained, tmp_path, capsys):
    output, checkpoint = ["--output", str(tmp_path / "run")], ["--checkpoint", str(trained)]
    options = {"fit": [*output, "--weights", "none"], "soft-targets": output + checkpoint}.get(command, checkpoint)
    assert main([command, "--data", str(tmp_path), *options]) == 2
    assert "data_prep catalogue" in capsys.readouterr().err


def test_weights_that_cannot_be_downloaded_are_a_sentence_and_an_exit_status(cleaned, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no copy from an earlier download
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    options = ("--backbone", "efficientnet_v2_s", "--weights", "imagenet", "--image-size", "64", "64")
    arguments = ["fit", "--data", str(cleaned), "--output", str(tmp_path / "run"), "--device", "cpu", *options]
    assert main(arguments) == 2
    assert "connect to the Hub, name a local file, or use none" in capsys.readouterr().err
