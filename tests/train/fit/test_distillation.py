import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fashion_model import FashionClassifier
from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import load_checkpoint
from fashion_model.models.backbones import WeightsError
from tests.conftest import NAMES
from tests.train.conftest import BACKBONE, smoke_fit, trainer_for, training_rows
from tests.train.fit.test_fit import with_labels
from tests.train.fit.test_trainer import batch_of, same, tensors_of, with_constant_rate
from train.__main__ import main
from train.data.table import DataError
from train.fit.distillation import ImageNetTeacher, load_soft_targets, save_soft_targets


@pytest.fixture(scope="module")
def teacher():
    return ImageNetTeacher(BACKBONE, (64, 64))


def test_the_imagenet_teacher_regularizes_towards_its_predictions(cleaned, imagenet_file, teacher, tmp_path):
    losses = []
    for weight in (5.0, 0.0):
        trainer = trainer_for(cleaned, tmp_path, weights=str(imagenet_file), frozen_stages=1, dropout=0.0)[0]
        object.__setattr__(trainer.config, "imagenet_distillation_weight", weight)
        trainer.teacher = teacher if weight else None
        with_constant_rate(trainer, rate=3e-4)
        batch, before = batch_of(trainer, range(12)), tensors_of(teacher)
        images = trainer._images(batch[0])
        trainer.model.eval()  # as the teacher, whose predictions it has before training
        with torch.no_grad():
            assert teacher(images, trainer.model.features(images)).item() == pytest.approx(0, abs=1e-4)
        for _ in range(6):
            trainer.train_one_batch(*batch)
        with torch.no_grad():
            losses.append(teacher(images, trainer.model.features(images)).item())
        assert all(same(before, teacher).values())
    assert 0.1 < losses[0] < 0.6 * losses[1]


def test_the_teacher_stays_in_evaluation_mode(teacher):
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert teacher.classifier.weight.shape == (1000, 1280)


def test_a_teacher_needs_imagenet_weights(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="the ImageNet weights of test_resnet cannot be downloaded"):
        ImageNetTeacher("test_resnet", (64, 64))


def soft_targets(tmp_path, checkpoint, data):
    path = tmp_path / "soft_targets.safetensors"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(data), "--output", str(path), "--device", "cpu"]
    assert main(["soft-targets", *arguments]) == 0
    return path


def test_soft_targets_are_a_checkpoints_predictions_in_the_order_of_the_rows(trained, cleaned, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, cleaned)
    rows = training_rows(cleaned)[0]
    assert f"{path}: {len(rows)} images" in capsys.readouterr().out
    classifier = FashionClassifier.from_pretrained(trained)
    ids = rows["id"].tolist()
    predictions = classifier.predict([cleaned / "images" / f"{i}.jpg" for i in ids])
    found = load_soft_targets(path, ids, classifier.encoders)
    reversed_order = load_soft_targets(path, ids[::-1], classifier.encoders)
    for name in NAMES:
        expected = np.stack([prediction[name].probabilities for prediction in predictions])
        assert np.allclose(found[name], expected, atol=1e-3)
        assert found[name].dtype == torch.float32
        assert torch.equal(reversed_order[name], found[name].flip(0))
        assert len(np.unique(found[name].numpy(), axis=0)) > 10  # they differ between images


def test_soft_targets_and_labels_share_the_target(trained, cleaned, tmp_path):
    start = shutil.copytree(trained, tmp_path / "start")
    with (start / "trained_on.txt").open("a") as file:
        file.write("7654321\n")
    path = soft_targets(tmp_path, trained, cleaned)
    settings = {"weights": str(start), "soft_targets": path, "distillation_weight": 0.25}
    trainer, data = trainer_for(cleaned, tmp_path / "x", **settings)
    stored = load_file(start / "model.safetensors")
    assert all(torch.equal(tensor.float(), trainer.model.state_dict()[key].float()) for key, tensor in stored.items())
    ids = training_rows(cleaned)[0]["id"].tolist()
    soft = load_soft_targets(path, ids, data.encoders)
    plain = trainer_for(cleaned, tmp_path / "y")[0]
    for name in NAMES:
        mixed = 0.25 * soft[name] + 0.75 * plain.training_set.targets[name][: len(ids)]
        assert torch.allclose(trainer.training_set.targets[name][: len(ids)], mixed)
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(start), "--soft-targets", str(path))) == 0
    assert "7654321" in (tmp_path / "run" / "trained_on.txt").read_text().split()


def test_another_networks_predictions_are_followed(cleaned, tmp_path):
    """They contradict the labels, and are memorized."""
    rows, _, encoders = training_rows(cleaned)
    last = {
        n: torch.zeros(len(rows), c).index_fill(1, torch.tensor([c - 1]), 1) for n, c in encoders.num_classes.items()
    }
    save_soft_targets(tmp_path / "soft.safetensors", rows["id"].tolist(), last)
    settings = {"soft_targets": tmp_path / "soft.safetensors", "distillation_weight": 0.9, "dropout": 0.0}
    trainer = with_constant_rate(trainer_for(cleaned, tmp_path, **settings)[0])
    views, indices = batch_of(trainer, range(8))
    for _ in range(15):
        trainer.train_one_batch(views, indices)
    with torch.no_grad():
        logits = trainer.model(trainer._images(views))
    for name, of_attribute in logits.items():
        assert (of_attribute.argmax(dim=1) == encoders.num_classes[name] - 1).float().mean() > 0.9


def test_soft_targets_that_do_not_fit_are_refused(trained, cleaned, tmp_path):
    encoders = load_checkpoint(trained).encoders
    probabilities = {name: torch.rand(3, count) for name, count in encoders.num_classes.items()}
    path = tmp_path / "folder" / "soft.safetensors"
    save_soft_targets(path, [5, 6, 7], probabilities)
    kept = load_soft_targets(path, [7, 5], encoders)
    assert all(torch.allclose(kept[name], probabilities[name][[2, 0]], atol=1e-3) for name in NAMES)
    with pytest.raises(DataError, match="has no soft targets for 8; `train soft-targets` writes them"):
        load_soft_targets(path, [7, 8], encoders)
    fewer = LabelEncoders(encoders.labels | {"color": encoders.labels["color"][1:]})
    with pytest.raises(DataError, match=r"soft\.safetensors has .* classes; the data has"):
        load_soft_targets(path, [7], fewer)
    path.write_bytes(b"no safetensors")
    for wrong in (path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=str(wrong)):
            load_soft_targets(wrong, [7], encoders)


def test_soft_targets_of_other_rows_or_labels_are_a_sentence(trained, cleaned, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, cleaned)
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    table.loc[table["split"] == "validation", "split"] = ["train"] + ["validation"] * 7
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    assert main(smoke_fit(moved, tmp_path / "run", "--soft-targets", str(path))) == 2
    assert f"fit: {path} has " in capsys.readouterr().err
    other = with_labels(trained, tmp_path / "other")
    arguments = ["--data", str(cleaned), "--output", str(tmp_path / "x"), "--device", "cpu"]
    assert main(["soft-targets", "--checkpoint", str(other), *arguments]) == 2
    assert "soft-targets: other has other labels than the training split" in capsys.readouterr().err
    assert main(["soft-targets", "--checkpoint", str(tmp_path), *arguments]) == 2
    assert "config.json is missing" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_with_soft_targets_resumes_with_the_same_only(trained, prepared, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, prepared)
    more = ["--soft-targets", str(path), "--weights", str(trained)]
    assert main(smoke_fit(prepared, tmp_path / "run", *more)) == 0
    assert main(smoke_fit(prepared, tmp_path / "run", *more, "--resume")) == 0
    tensors = load_file(path)
    save_soft_targets(path, tensors["id"].tolist(), {name: tensors[name].float().flip(1) for name in NAMES})
    capsys.readouterr()
    assert main(smoke_fit(prepared, tmp_path / "run", *more, "--resume")) == 2
    assert "soft_targets " in capsys.readouterr().err
