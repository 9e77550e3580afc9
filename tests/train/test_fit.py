"""`train fit` as a command: checkpoint directory, resume, attributes, errors."""

import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fashion_model import FashionClassifier
from fashion_model.checkpoint import (
    ENCODERS,
    LABEL_WORDS,
    TRAINING,
    UNFINISHED,
    load_checkpoint,
    read_json,
    write_json,
)
from tests.conftest import NAMES, ROOT, TINY
from tests.train.conftest import config_of, fit, run, smoke_fit, trainer_for
from train.__main__ import main
from train.data.table import read_table
from train.fit.command import STATE, is_run
from train.fit.config import SHARES
from train.fit.start import read_data

OTHER = ("other_sources", "other_sources_without_products")


def test_fit_writes_a_checkpoint_directory(trained, cleaned):
    files = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    assert files == {"model.safetensors", "config.json", ENCODERS, LABEL_WORDS, "trained_on.txt", TRAINING, STATE}
    table = read_table(cleaned)
    assert read_json(trained / LABEL_WORDS)["singular"]["Tshirts"] == "T-shirt"
    assert set((trained / "trained_on.txt").read_text().split()) == set(table.loc[table["split"] == "train", "id"])


def test_training_json_records_the_run(trained_on_all):
    document = read_json(trained_on_all / TRAINING)
    assert document["settings"]["frozen_stages"] == 1
    assert set(document["data"]["domains"]) == set(SHARES) - {"backgrounds"}
    assert document["restarts"] == []
    assert [entry["epoch"] for entry in document["history"]] == [1, 2]
    for entry in document["history"]:
        assert np.isfinite(entry["loss"])
        assert set(entry["validation"]) == {*document["data"]["domains"], *OTHER} - {"people", "streets"}
        assert set(entry["validation"]["everyday"]) == {"fashion", "nll_sum"}


def test_fifth_attribute_is_served_by_flags_alone(cleaned, imagenet_file, tmp_path):
    """Through fit, calibration, evaluation, report and prediction."""
    checkpoint = tmp_path / "checkpoint"
    options = ("--weights", str(imagenet_file), "--attributes", *NAMES, "usage")
    fit(cleaned, checkpoint, *options)
    assert all(run(command, checkpoint, cleaned) == 0 for command in ("calibrate", "evaluate", "report"))
    assert "| Usage " in (checkpoint / "README.md").read_text()
    assert "Usage" in (checkpoint / "report" / "report.html").read_text()
    photograph = next(iter((cleaned / "images").iterdir()))
    prediction, overlays = FashionClassifier.from_pretrained(checkpoint).predict_and_explain(photograph)
    assert prediction.usage.label in set(read_table(cleaned)["usage"])
    assert set(overlays) == {*NAMES, "usage"}


@pytest.mark.parametrize(
    "options",
    [
        ("--backbone", "test_vit", "--linear-probe-steps", "1"),
        ("--backbone", TINY, "--heads", "moe", "--experts", "3", "--load-balance-weight", "1"),
    ],
)
def test_other_networks_are_trained_and_measured(cleaned, tmp_path, options):
    fit(cleaned, tmp_path, "--epochs", "1", "--epoch-views", "32", *options)
    assert run("evaluate", tmp_path, cleaned) == 0
    assert ("gate weights on catalogue thumbnails" in (tmp_path / "README.md").read_text()) == ("moe" in options)
    assert FashionClassifier.from_pretrained(tmp_path).config.backbone == options[1]


@pytest.fixture(scope="module")
def one_epoch(prepared, all_the_way, tmp_path_factory):
    """The run of `trained_on_all`, of one epoch; it replaces an older run."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    (folder / STATE).parent.mkdir(parents=True)
    (folder / TRAINING).write_text('{"settings": {}, "history": []}')
    (folder / STATE).write_bytes(b"of an older run")
    fit(prepared, folder, *all_the_way, "--epochs", "1")
    return folder


def resumed(prepared, folder, *options):
    fit(prepared, folder, *options, "--resume")
    return load_file(folder / "model.safetensors"), read_json(folder / TRAINING)


def same_tensors(tensors, others):
    assert tensors.keys() == others.keys()
    return all(torch.equal(tensors[key], others[key]) for key in others)


def without_times(document):
    times = ("seconds", "images_per_second")
    history = [{k: v for k, v in entry.items() if k not in times} for entry in document["history"]]
    return document | {"history": history, "hours": 0}


@pytest.mark.parametrize("killed_before_the_state_was_saved", [False, True])
def test_resumed_run_equals_an_uninterrupted(
    killed_before_the_state_was_saved, one_epoch, trained_on_all, prepared, all_the_way, tmp_path
):
    expected = load_file(trained_on_all / "model.safetensors"), read_json(trained_on_all / TRAINING)
    folder = shutil.copytree(one_epoch, tmp_path / "run")
    if killed_before_the_state_was_saved:  # of the second epoch
        shutil.copyfile(trained_on_all / TRAINING, folder / TRAINING)
    tensors, document = resumed(prepared, folder, *all_the_way)
    assert same_tensors(tensors, expected[0])
    assert without_times(document) == without_times(expected[1])


def test_run_without_its_state_restarts(one_epoch, prepared, all_the_way, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / "run", ignore=shutil.ignore_patterns("state.pt"))
    tensors, document = resumed(prepared, folder, *all_the_way)
    assert document["restarts"] == [1]
    assert document["history"][0] == read_json(one_epoch / TRAINING)["history"][0]
    rate = document["history"][1]["learning_rate"]
    assert rate == pytest.approx(document["history"][0]["learning_rate"])  # it warms up again
    start, key = load_file(one_epoch / "model.safetensors"), "heads.linear.color.weight"
    assert 0 < (tensors[key].float() - start[key].float()).norm() < 0.2 * start[key].float().norm()


def test_resume_refuses_other_settings_and_data(one_epoch, cleaned, prepared, all_the_way, capsys):
    for data, options, message in (
        (prepared, ("--frozen-stages", "2"), "frozen_stages 2 instead of 1"),
        (prepared, ("--augmentation.paste", "0.4"), "augmentation {'paste': 0.4"),
        (cleaned, (), "domains {'thumbnails'"),
    ):
        assert main(smoke_fit(data, one_epoch, *all_the_way, *options, "--resume")) == 2
        assert f"belongs to another run: {message}" in capsys.readouterr().err


def test_fingerprint_sees_what_decides_the_views(prepared, tmp_path):
    data, seen = shutil.copytree(prepared, tmp_path / "data"), []
    table, worn, mask = data / "cleaned_styles.csv", data / "worn" / "worn.csv", next((data / "worn/masks").iterdir())
    for change in (
        lambda: None,
        lambda: (data / "backgrounds" / "train" / "z.jpg").write_bytes(b""),
        lambda: mask.write_bytes(mask.read_bytes() + b"0"),
        lambda: (data / "worn" / "tags.json").write_text("[]"),
        lambda: worn.write_text(worn.read_text().replace("pants", "socks")),
        lambda: table.write_text(table.read_text().replace("Apparel", "Accessories")),
    ):
        change()
        seen.append(read_data(config_of(data)).fingerprint)
    assert all(before != after for before, after in pairwise(seen))


def test_diverging_run_saves_no_weights(cleaned, tmp_path, capsys):
    assert main(smoke_fit(cleaned, tmp_path / "run", "--backbone", TINY, "--learning-rate", "1e30")) == 2
    assert "values that are not numbers" in (printed := capsys.readouterr().err) or "the loss is" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["imagenet", "none"])
def test_folder_does_not_shadow_named_weights(cleaned, tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    trainer_for(cleaned, tmp_path, weights=name)
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        trainer_for(cleaned, tmp_path, weights=f"./{name}")


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_weights_are_never_overwritten(trained, cleaned, tmp_path, name):
    start = shutil.copytree(trained, tmp_path / "start")
    with pytest.raises(ValueError, match="would be overwritten; choose another output"):
        trainer_for(cleaned, start, weights=str(start / name))


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "README.md", TRAINING, "trained_on.txt", STATE])
def test_folder_of_others_is_not_trained_into(cleaned, tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert main(smoke_fit(cleaned, tmp_path)) == 2
    assert "holds files that no training has written" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "{}"
    (tmp_path / UNFINISHED).mkdir()  # a training has begun to write its first checkpoint
    assert is_run(tmp_path)


def test_backbone_of_one_size_is_refused(cleaned, tmp_path):
    settings = {"backbone": "vit_tiny_patch16_224", "weights": "none", "small_image_size": (32, 32), "small_epochs": 1}
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 cannot take images of \(32, 32\)"):
        trainer_for(cleaned, tmp_path, **settings)


def test_weights_of_a_checkpoint_are_continued(trained, cleaned, tmp_path):
    start = shutil.copytree(trained, tmp_path / "start")
    (start / LABEL_WORDS).unlink()  # it may lack them
    with (start / "trained_on.txt").open("a") as file:
        file.write("7654321\n")
    trainer, _ = trainer_for(cleaned, tmp_path / "x", weights=str(start))
    assert same_tensors(load_checkpoint(start).model.state_dict(), trainer.model.state_dict())
    fit(cleaned, tmp_path / "run", "--weights", str(start), "--epochs", "1")
    assert "7654321" in (tmp_path / "run" / "trained_on.txt").read_text().split()


def test_weights_that_do_not_fit_are_refused(trained, cleaned, tmp_path, capsys):
    other, silent = (shutil.copytree(trained, tmp_path / name) for name in ("other", "silent"))
    labels = read_json(other / "label_encoders.json")
    labels["season"]["0"] = "Monsoon"
    write_json(other / "label_encoders.json", labels)
    (silent / "trained_on.txt").unlink()
    for weights, options, message in (
        (other, (), f"{other} has other attributes or labels than this run"),
        (trained, ("--backbone", "test_vit"), "has backbone tf_efficientnet_lite0, linear heads"),
        (silent, (), f"{silent} has no trained_on.txt"),
    ):
        assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(weights), *options)) == 2
        assert message in capsys.readouterr().err


def test_missing_or_damaged_image_is_named(cleaned, tmp_path, capsys):
    data = shutil.copytree(cleaned, tmp_path / "data")
    table = read_table(data)
    trained = data / "images" / f"{table.loc[table['split'] == 'train', 'id'].iloc[0]}.jpg"
    for change, message in (
        (lambda: trained.write_bytes(b""), f"fit: {trained}: The file is empty."),
        (trained.unlink, f"fit: {trained} is missing; data_prep writes it"),
    ):
        change()
        assert main(smoke_fit(data, tmp_path / "run")) == 2
        assert capsys.readouterr().err.splitlines()[-1] == message


@pytest.mark.parametrize("command", ["fit", "evaluate", "calibrate", "report"])
def test_missing_data_is_a_sentence(command, trained, tmp_path, capsys):
    assert (main(smoke_fit(tmp_path, tmp_path / "run")) if command == "fit" else run(command, trained, tmp_path)) == 2
    assert "cleaned_styles.csv is missing" in capsys.readouterr().err


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "train"]
# Batch norms and dropout would see other halves.
TOGETHER = ("--backbone", "test_vit", "--dropout", "0", "--workers", "0", "--linear-probe-steps", "2")
TOGETHER += ("--cooldown-epochs", "0")


@pytest.mark.slow
def test_two_processes_train_as_one_does(prepared, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    fit(prepared, alone, *TOGETHER)
    command = [*TORCHRUN, *smoke_fit(prepared, together, *TOGETHER, "--epochs", "1")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'epoch': 1") == 1  # one process prints
    fit(prepared, together, *TOGETHER, "--resume")  # one process continues the run of two
    histories = [read_json(folder / TRAINING)["history"] for folder in (alone, together)]
    for expected, entry in zip(*histories, strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    tensors = [load_file(folder / "model.safetensors") for folder in (alone, together)]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, atol=2e-3, rtol=0)
