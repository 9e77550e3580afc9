import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from fashion_model import FashionClassifier
from fashion_model.attributes import ATTRIBUTES, NAMES, LabelEncoders
from fashion_model.backbones import WeightsError
from fashion_model.checkpoint import load_checkpoint, weight_files
from fashion_model.images import open_image
from tests.conftest import ALL_THE_WAY, FROM_IMAGENET, ROOT, smoke_fit
from train import metrics as metrics_module
from train.__main__ import main
from train.dataset import DataError, DecodedPhotographs, draw_epoch, read_table, repeat_factors, rows_of_split
from train.distillation import ImageNetMemory, load_soft_targets, save_soft_targets
from train.fit import FIT, best, parse_arguments
from train.fit_config import FitConfig
from train.metrics import Answers
from train.trained_on import read_trained_on
from train.training import Training, uneven_use

SMOKE = {"backbone": "efficientnet_lite0", "weights": "none", "device": "cpu"}


def training_on(data, output, **settings):
    """A small run before its first step."""
    return Training(FitConfig(str(data), str(output), **SMOKE | settings).shrunk())


def batch_of(training, indices):
    """Their views by the seed 0, and the indices."""
    return torch.stack([training.mixture[i, 0][0] for i in indices]), torch.tensor(list(indices))


def of_kind(training, kind):
    return [index for index, found in enumerate(training.mixture.kinds) if found == kind]


def tensors_of(module):
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}


def same(before, module):
    """Key → whether the tensor is bit for bit what it was."""
    return {key: torch.equal(before[key], tensor) for key, tensor in module.state_dict().items()}


def with_labels(checkpoint, folder, column="season", label="Monsoon"):
    """A copy of a checkpoint that calls one label otherwise."""
    other = shutil.copytree(checkpoint, folder)
    encoders = json.loads((other / "label_encoders.json").read_text())
    encoders[column]["0"] = label
    (other / "label_encoders.json").write_text(json.dumps(encoders))
    return other


def own_files(folder):
    return {path.name for path in folder.iterdir()}


def test_fit_writes_a_checkpoint_directory(trained, cleaned):
    assert own_files(trained) == {
        "model.safetensors",
        "config.json",
        "label_encoders.json",
        "metrics.json",
        "trained_on.txt",
        "training",
    }
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["split"] == "validation"
    assert set(metrics["kinds"]) == {"thumbnails"}
    log = pd.read_csv(trained / "training" / "log.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert metrics["kinds"]["thumbnails"]["cross_entropy_sum"] == pytest.approx(log["validation_loss"].min())
    assert np.isfinite(log["loss"]).all()
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    trained_ids = {int(line) for line in (trained / "trained_on.txt").read_text().split()}
    assert trained_ids == set(table.loc[table["split"] == "train", "id"])


def test_a_run_on_every_kind_of_picture_is_chosen_by_all_of_them(trained_on_all):
    metrics = json.loads((trained_on_all / "metrics.json").read_text())
    log = pd.read_csv(trained_on_all / "training" / "log.csv")
    kinds = ["thumbnails", "sharp", "phone", "everyday"]
    assert list(metrics["kinds"]) == kinds
    total = sum(log[f"{kind}_cross_entropy_sum"] for kind in kinds)
    assert log["validation_loss"].tolist() == pytest.approx(total.tolist())
    chosen = log.loc[log["validation_loss"].idxmin()]
    for kind, figures in metrics["kinds"].items():
        for name, value in figures.items():
            assert value == pytest.approx(chosen[f"{kind}_{name}"])
    assert set(metrics["kinds"]["everyday"]) == {"fashion", "cross_entropy_sum"}
    assert set(metrics["kinds"]["phone"]) == {"fashion", "cross_entropy_sum", "color", "product_type", "gender"}
    settings = json.loads((trained_on_all / FIT).read_text())
    assert set(settings["pictures"]) == {*kinds, "on_model", "drawn"}
    assert settings["chosen_by"] == kinds
    tensors = load_file(trained_on_all / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert tensors["fashion.weight"].any()


def test_the_figures_of_an_epoch_are_what_predict_says(trained_on_all, prepared):
    """Of phone photographs, whose first answer is right if any reader accepts it, and everyday pictures."""
    figures = json.loads((trained_on_all / "metrics.json").read_text())["kinds"]
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
        assert figures["phone"][name] == pytest.approx(right, abs=1.01 / len(known))
    everyday = classifier.predict(sorted((prepared / "everyday" / "validation").iterdir()))
    assert figures["everyday"]["fashion"] == pytest.approx(np.mean([not p.is_fashion for p in everyday]), abs=0.13)


def test_evaluate_prints_and_writes_what_predict_says_of_the_test_split(trained, cleaned, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    arguments = ["evaluate", "--checkpoint", str(trained), "--data", str(cleaned), "--split", "test"]
    assert main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(output.read_text())
    assert (metrics["split"], metrics["rows"], metrics["calibration_bins"]) == ("test", 8, 15)
    assert metrics["visitors"] == {}
    table = pd.read_csv(cleaned / "cleaned_styles.csv", keep_default_na=False)
    rows = table[table["split"] == "test"]
    classifier = FashionClassifier.from_pretrained(trained)
    predictions = classifier.predict([cleaned / "images" / f"{i}.jpg" for i in rows["id"]])
    for attribute in ATTRIBUTES:
        labels = classifier.encoders.labels[attribute.name]
        targets = np.array([labels.index(v) if v in labels else -1 for v in rows[attribute.column]])
        answers = Answers.of(np.stack([p[attribute.name].probabilities for p in predictions]), targets)
        expected = metrics_module.figures(answers)
        figures = metrics["attributes"][attribute.name]
        assert set(figures) == {*expected, "calibration_error_by_chance", "intervals"}
        assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-4)
        assert set(figures["intervals"]) == set(expected)
        assert f"| {attribute.title} | {100 * figures['accuracy']:.1f} (" in printed
    total = sum(metrics["attributes"][name]["cross_entropy"] for name in NAMES)
    assert metrics["cross_entropy_sum"] == pytest.approx(total)


def test_evaluate_leaves_out_pictures_that_the_checkpoint_was_trained_on(trained, cleaned, tmp_path, capsys):
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    twins = table[table["group"].duplicated(keep=False)]
    table.loc[table["group"] == twins["group"].iloc[0], "split"] = "test"  # both were in training
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    arguments = ["evaluate", "--checkpoint", str(trained), "--data", str(moved), "--output", str(tmp_path / "m.json")]
    assert main(arguments) == 0
    assert "trained on: 2 rows" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["rows"] == 8


def test_the_card_says_whether_it_knows_what_was_trained_on(trained, cleaned, tmp_path):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    arguments = ["evaluate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]
    known = "None of the catalogue's pictures measured below is among those it was trained on;"
    assert main(arguments) == 0
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert known in card
    assert "each with\na confidence, which is not calibrated. " in card
    (checkpoint / "trained_on.txt").unlink()
    assert main(arguments) == 0
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert known not in card
    assert "Whether it was trained on some of the pictures measured below is not known." in card


def at_its_peak(training, rate=3e-3):
    """Without the schedule, at whose start and end the rates are low."""
    training.scheduler.step = lambda: None
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.model.train()
    return training


def test_training_learns_a_handful_of_photographs_by_heart(cleaned, tmp_path):
    """Twelve photographs over and over: the loss reaches its gradients through every head and the backbone."""
    training = at_its_peak(training_on(cleaned, tmp_path, dropout=0))
    batch = batch_of(training, range(12))
    losses = [training.train_one_batch(*batch) for _ in range(20)]
    assert losses[-1] < 0.3 * losses[0]


def test_everyday_pictures_teach_what_is_no_fashion_product(prepared, tmp_path):
    training = at_its_peak(training_on(prepared, tmp_path, dropout=0, weights="imagenet"), rate=1e-3)
    everyday = of_kind(training, "everyday")[:8]
    products = [*of_kind(training, "phone")[:4], *of_kind(training, "sharp")[:4]]
    views, indices = batch_of(training, [*everyday, *products])

    def scores():
        with torch.no_grad():
            return training.model.fashion_scores(training.model.pool(training.model.features(training._images(views))))

    assert not scores().any()  # untrained it knows nothing of either
    for _ in range(40):
        training.train_one_batch(views, indices)
    assert scores()[:8].max() < 0 < scores()[8:].min()


def test_the_loss_of_a_batch_is_what_its_targets_say(prepared, tmp_path):
    """Attributes that nothing is known of cost nothing; fashion or not has a weight of its own."""
    training = training_on(prepared, tmp_path, dropout=0, fashion_weight=0.7)
    kinds = ("thumbnails", "sharp", "phone", "on_model", "everyday", "empty")
    views, indices = batch_of(training, [index for kind in kinds for index in of_kind(training, kind)[:2]])
    training.model.eval()  # batch norm by itself, so that the same comes out twice
    with torch.no_grad():
        torch.nn.init.normal_(training.model.fashion.weight, std=0.1)
        pooled = training.model.pool(training.model.features(training._images(views)))
        logits, scores = training.model.heads(pooled), training.model.fashion_scores(pooled)
    fashion = torch.tensor([1.0] * 8 + [0.0] * 4)
    expected = 0.7 * functional.binary_cross_entropy_with_logits(scores, fashion)
    for name in NAMES:
        targets = training.mixture.targets[name][indices]
        assert not targets[8:].any()
        expected += functional.cross_entropy(logits[name], targets, reduction="sum") / 12
    training.optimizer.step = lambda: None
    assert training.train_one_batch(views, indices) == pytest.approx(expected.item(), rel=1e-4)


@pytest.fixture(scope="module")
def interrupted(prepared, trained_on_all, tmp_path_factory):
    """The run of `trained_on_all`, killed after its first epoch as a machine would do it; begun over an older run."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    (folder / "training").mkdir(parents=True)
    shutil.copyfile(trained_on_all / FIT, folder / FIT)
    command = [sys.executable, "-m", "train", *smoke_fit(prepared, folder, *ALL_THE_WAY)]
    state = folder / "training" / "state.pt"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 180
        while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be interrupted"
    assert len(torch.load(state, weights_only=True)["history"]) == 1
    return folder


def test_an_interrupted_run_resumes_to_the_same_result(interrupted, trained_on_all, prepared, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    assert main(smoke_fit(prepared, folder, *ALL_THE_WAY, "--resume")) == 0
    tensors, expected = load_file(folder / "model.safetensors"), load_file(trained_on_all / "model.safetensors")
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    for file in ("metrics.json", "trained_on.txt", FIT):
        assert (folder / file).read_text() == (trained_on_all / file).read_text()


def test_the_settings_of_an_earlier_run_go_when_another_begins(interrupted):
    assert not (interrupted / FIT).exists()


def test_an_epoch_that_is_worse_is_not_saved(interrupted, prepared, tmp_path):
    """As if the first epoch had been better than any can be: the second leaves its files alone."""
    folder = shutil.copytree(interrupted, tmp_path / "run")
    state = torch.load(folder / "training" / "state.pt", weights_only=True)
    state["history"][0]["validation_loss"] = 0.0
    torch.save(state, folder / "training" / "state.pt")
    saved = {name: (folder / name).read_bytes() for name in ("model.safetensors", "metrics.json", "config.json")}
    assert main(smoke_fit(prepared, folder, *ALL_THE_WAY, "--resume")) == 0
    assert {name: (folder / name).read_bytes() for name in saved} == saved
    assert pd.read_csv(folder / "training" / "log.csv")["validation_loss"].iloc[1] > 0


def test_the_best_epoch_is_one_of_the_last_size():
    def entry(epoch, side, loss):
        return {"epoch": epoch, "image_side": side, "validation_loss": loss}

    same_size = [entry(1, 64, 2.0), entry(2, 64, 1.5), entry(3, 64, 1.7)]
    assert best(same_size)["epoch"] == 2
    assert best([entry(1, 32, 1.0), entry(2, 64, 1.5), entry(3, 64, 1.7)])["epoch"] == 2  # another size, other figures
    assert best([entry(1, 32, 1.0), entry(2, 64, 1.5)])["epoch"] == 2


def test_resume_refuses_a_run_with_other_settings(trained, cleaned, capsys):
    for option in (("--seed", "1"), ("--frozen-stages", "1"), ("--heads-steps", "1"), ("--fashion-weight", "1")):
        assert main(smoke_fit(cleaned, trained, *FROM_IMAGENET, "--resume", *option)) == 2
        assert f"other settings or data (now, then): {{'{option[0][2:].replace('-', '_')}'" in capsys.readouterr().err


def test_resume_refuses_other_data(trained, cleaned, prepared, tmp_path, capsys):
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    train = table["split"] == "train"
    table.loc[train, "season"] = table.loc[train, "season"].iloc[::-1].to_numpy()
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    for data, what in ((moved, "'rows'"), (prepared, "'pictures'")):
        assert main(smoke_fit(data, trained, *FROM_IMAGENET, "--resume")) == 2
        printed = capsys.readouterr().err
        assert "other settings or data" in printed
        assert what in printed


def test_resume_refuses_photographs_with_other_labels(trained_on_all, prepared, tmp_path, capsys):
    moved = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("decoded"))
    table = pd.read_csv(moved / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table["colors"] = table["colors"].iloc[::-1].to_numpy()
    table.to_csv(moved / "phone" / "phone.csv", index=False)
    assert main(smoke_fit(moved, trained_on_all, *ALL_THE_WAY, "--resume")) == 2
    printed = capsys.readouterr().err
    assert "other settings or data (now, then): {'pictures': " in printed
    assert "'rows'" not in printed


def test_a_run_that_is_done_has_nothing_left_to_resume(trained, cleaned, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "model.safetensors").read_bytes()
    assert main(smoke_fit(cleaned, run, *FROM_IMAGENET, "--resume")) == 0
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("largest_decay", [0.999, 0.3, 0])
def test_the_average_of_the_weights_is_what_is_saved_and_measured(cleaned, tmp_path, largest_decay):
    training = training_on(cleaned, tmp_path, average=largest_decay)
    start = training.model.heads.linear["color"].weight.detach().clone()
    steps = []
    update = training.average.update_parameters

    def remember(model):
        update(model)
        steps.append(model.heads.linear["color"].weight.detach().clone())

    training.average.update_parameters = remember
    training.train_one_epoch(0)
    expected = steps[0]
    for number, weight in enumerate(steps[1:], start=1):
        decay = min(largest_decay, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
    average = training.average.module.heads.linear["color"].weight
    assert len(steps) > 1
    assert torch.allclose(average, expected, atol=1e-6)
    assert torch.allclose(average, steps[-1]) == (largest_decay == 0)
    assert not torch.equal(steps[-1], start)
    training.save_best(training.validate())
    stored = load_file(tmp_path / "model.safetensors")["heads.linear.color.weight"]
    assert torch.equal(stored, average.half())


def test_frozen_stages_keep_their_weights_and_statistics_while_the_others_move(cleaned, tmp_path):
    training = training_on(cleaned, tmp_path, frozen_stages=3)
    before = tensors_of(training.model.backbone)
    training.train_one_epoch(0)
    for model in (training.model, training.average.module):
        kept = same(before, model.backbone)
        frozen = {key for key in kept if int(key.split(".")[0]) < 3}
        assert any("running_mean" in key for key in frozen)
        assert all(kept[key] for key in frozen)
        moved = [key for key in kept if key not in frozen]
        assert not any(kept[key] for key in moved if key.endswith(("weight", "running_mean", "running_var")))
    training.save_best(training.validate())
    stored = load_file(tmp_path / "model.safetensors")
    assert all(
        torch.equal(stored[f"backbone.{key}"], before[key].half()) for key in frozen if before[key].is_floating_point()
    )


def test_a_backbone_cannot_be_frozen_whole(cleaned, tmp_path, capsys):
    stages = len(training_on(cleaned, tmp_path).model.backbone)
    assert main(smoke_fit(cleaned, tmp_path / "run", "--frozen-stages", str(stages))) == 2
    assert f"fit: efficientnet_lite0 has {stages} stages; not all can be frozen" in capsys.readouterr().err


def test_the_heads_are_trained_first_and_leave_the_backbone_as_it_is(prepared, tmp_path):
    training = training_on(prepared, tmp_path, heads_steps=2)
    backbone, heads = tensors_of(training.model.backbone), tensors_of(training.model.heads)
    training.train_heads()
    assert all(same(backbone, training.model.backbone).values())
    assert not any(same(heads, training.model.heads).values())
    assert training.model.fashion.weight.any()
    assert all(same(tensors_of(training.model), training.average.module).values())
    training.model.train()
    training.train_one_batch(*batch_of(training, range(4)))
    assert not all(same(backbone, training.model.backbone).values())


def test_without_steps_for_them_the_heads_are_not_trained_first(prepared, tmp_path):
    training = training_on(prepared, tmp_path)
    before = tensors_of(training.model)
    training.train_heads()
    assert all(same(before, training.model).values())


def trunk_and_pooled(training, batch):
    first = training.config.frozen_stages
    trunk = training.model.backbone[:first](training._images(batch[0]))
    return trunk, training.model.pool(training.model.backbone[first:](trunk))


def test_what_imagenet_taught_is_kept_in_mind(cleaned, tmp_path):
    """The memory's loss is 0 before training. After it, it is smaller for who was asked to remember."""
    losses = []
    for weight in (5.0, 0.0):
        settings = {"weights": "imagenet", "imagenet_weight": weight, "frozen_stages": 2, "dropout": 0}
        training = at_its_peak(training_on(cleaned, tmp_path, **settings), rate=3e-4)
        batch = batch_of(training, range(12))
        if training.memory is not None:
            memory, before = training.memory, tensors_of(training.memory)
        training.model.eval()
        with torch.no_grad():
            assert memory(*trunk_and_pooled(training, batch)).item() == pytest.approx(0, abs=1e-5)
        for _ in range(6):
            training.train_one_batch(*batch)
        with torch.no_grad():
            losses.append(memory(*trunk_and_pooled(training, batch)).item())
    assert 0.1 < losses[0] < 0.6 * losses[1]
    assert all(same(before, memory).values())


def test_the_memory_stays_as_it_is_whatever_is_trained(cleaned, tmp_path):
    training = training_on(cleaned, tmp_path, weights="imagenet", imagenet_weight=1.0)
    assert isinstance(training.memory, ImageNetMemory)
    training.memory.train()
    assert not any(module.training for module in training.memory.modules())
    assert not any(parameter.requires_grad for parameter in training.memory.parameters())
    assert training.memory.classifier.weight.shape == (1000, 1280)
    shares = training.memory.classifier(training.memory.stages(torch.zeros(1, 3, 64, 64)).mean(dim=(2, 3)))
    assert shares.softmax(dim=1).max() < 1


def test_who_goes_on_from_a_checkpoint_keeps_imagenet_in_mind_and_not_the_checkpoint(
    prepared, trained_on_all, tmp_path
):
    weights = {"weights": str(trained_on_all), "imagenet_weight": 1.0}
    training = training_on(prepared, tmp_path, frozen_stages=2, **weights)
    fresh = training_on(prepared, tmp_path, frozen_stages=2, weights="imagenet", imagenet_weight=1.0)
    assert all(same(tensors_of(fresh.memory), training.memory).values())
    assert not all(same(tensors_of(fresh.model.backbone), training.model.backbone).values())
    with pytest.raises(WeightsError, match=r"first 3 stages of .* are not those of ImageNet"):
        training_on(prepared, tmp_path, frozen_stages=3, **weights)


def test_only_a_backbone_with_imagenets_weights_can_keep_imagenet_in_mind(cleaned, tmp_path, capsys):
    assert main(smoke_fit(cleaned, tmp_path / "run", "--imagenet-weight", "0.3")) == 2
    assert "the weights none of efficientnet_lite0 have no classifier" in capsys.readouterr().err


def soft_targets(tmp_path, checkpoint, data):
    path = tmp_path / "soft_targets.safetensors"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(data), "--output", str(path), "--device", "cpu"]
    assert main(["soft_targets", *arguments]) == 0
    return path


def test_soft_targets_are_a_checkpoints_answers_in_the_order_of_the_rows(trained, cleaned, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, cleaned)
    rows = rows_of_split(read_table(cleaned), "train")
    assert f"{path}: {len(rows)} photographs" in capsys.readouterr().out
    classifier = FashionClassifier.from_pretrained(trained)
    ids = rows["id"].tolist()
    predictions = classifier.predict([cleaned / "images" / f"{i}.jpg" for i in ids])
    found = load_soft_targets(path, ids, classifier.encoders)
    other_way = load_soft_targets(path, ids[::-1], classifier.encoders)
    for name in NAMES:
        expected = np.stack([prediction[name].probabilities for prediction in predictions])
        assert np.allclose(found[name], expected, atol=1e-3)
        assert found[name].dtype == torch.float32
        assert torch.equal(other_way[name], found[name].flip(0))
        assert len(np.unique(found[name].numpy(), axis=0)) > 10  # whose answer is whose can be told


def test_the_heads_alone_are_trained_on_the_mean_of_two_networks(trained, cleaned, tmp_path, capsys):
    second = shutil.copytree(trained, tmp_path / "second")
    own = load_file(trained / "model.safetensors")
    moved = {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in own.items()}
    save_file(moved, second / "model.safetensors")
    (second / "trained_on.txt").write_text("7654321\n")
    mean = tmp_path / "mean"
    assert main(["soup", "--checkpoints", str(trained), str(second), "--output", str(mean)]) == 0
    stored = load_file(mean / "model.safetensors")
    for key, tensor in own.items():
        assert torch.allclose(stored[key].float(), (tensor.float() + moved[key].float()) / 2, atol=2e-3, rtol=2e-3), key
    assert read_trained_on(mean) == read_trained_on(trained) | {7654321}

    options = ("--weights", str(mean), "--epochs", "0", "--heads-steps", "2", "--resume")
    for _ in range(2):  # the second time there is nothing left to do
        assert main(smoke_fit(cleaned, tmp_path / "run", *options)) == 0
    assert "best epoch 0" in capsys.readouterr().out
    after = load_file(tmp_path / "run" / "model.safetensors")
    moved = {key.split(".")[0] for key, tensor in stored.items() if not torch.equal(tensor, after[key])}
    assert moved == {"heads", "fashion"}

    other = with_labels(trained, tmp_path / "other")
    arguments = ["soup", "--checkpoints", str(trained), str(other), "--output", str(tmp_path / "x")]
    assert main(arguments) == 2
    assert "different networks or have different labels" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_soft_targets_that_do_not_fit_are_refused(trained, cleaned, tmp_path):
    encoders = load_checkpoint(trained).encoders
    probabilities = {name: torch.rand(3, count) for name, count in encoders.num_classes.items()}
    path = tmp_path / "folder" / "soft.safetensors"
    save_soft_targets(path, [5, 6, 7], probabilities)
    kept = load_soft_targets(path, [7, 5], encoders)
    assert all(torch.allclose(kept[name], probabilities[name][[2, 0]], atol=1e-3) for name in NAMES)
    with pytest.raises(DataError, match="has no soft targets for 8; `train soft_targets` writes them"):
        load_soft_targets(path, [7, 8], encoders)
    fewer = LabelEncoders(encoders.labels | {"color": encoders.labels["color"][1:]})
    with pytest.raises(DataError, match=r"soft\.safetensors has .* classes; the data has"):
        load_soft_targets(path, [7], fewer)
    path.write_bytes(b"no safetensors")
    for wrong in (path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=str(wrong)):
            load_soft_targets(wrong, [7], encoders)


def test_soft_targets_that_do_not_fit_are_a_sentence_and_an_exit_status(trained, cleaned, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, cleaned)
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    table.loc[table["split"] == "validation", "split"] = ["train"] + ["validation"] * 7  # one that was not asked about
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    assert main(smoke_fit(moved, tmp_path / "run", "--soft-targets", str(path))) == 2
    assert f"fit: {path} has " in capsys.readouterr().err
    other = with_labels(trained, tmp_path / "other")
    arguments = ["--data", str(cleaned), "--output", str(tmp_path / "x"), "--device", "cpu"]
    assert main(["soft_targets", "--checkpoint", str(other), *arguments]) == 2
    assert "soft_targets: other has other labels than the training split" in capsys.readouterr().err
    assert main(["soft_targets", "--checkpoint", str(tmp_path), *arguments]) == 2
    assert "config.json is missing" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_goes_on_from_a_checkpoint_and_learns_from_another_networks_answers(trained, cleaned, tmp_path):
    start = shutil.copytree(trained, tmp_path / "start")
    with (start / "trained_on.txt").open("a") as file:
        file.write("7654321\n")  # whatever it knows, the new checkpoint knows
    path = soft_targets(tmp_path, trained, cleaned)
    training = training_on(cleaned, tmp_path / "x", weights=str(start), soft_targets=str(path), soft_weight=0.25)
    stored = load_file(start / "model.safetensors")
    assert all(torch.equal(tensor.float(), training.model.state_dict()[key].float()) for key, tensor in stored.items())
    assert 7654321 in training.trained_ids
    assert len(set(training.taken_over)) == 2
    ids = rows_of_split(read_table(cleaned), "train")["id"].tolist()
    soft = load_soft_targets(path, ids, training.encoders)
    plain = training_on(cleaned, tmp_path / "y")
    for name in NAMES:
        mixed = 0.25 * soft[name] + 0.75 * plain.mixture.targets[name][: len(ids)]
        assert torch.allclose(training.mixture.targets[name][: len(ids)], mixed)


def test_what_another_network_answers_lowers_the_loss_of_whoever_answers_alike(trained, cleaned, tmp_path):
    """The very network that was asked, and then the same with the answers to other photographs."""
    path = soft_targets(tmp_path, trained, cleaned)
    losses = []
    for turned in ((), (0,)):
        tensors = load_file(path)
        answers = {name: tensors[name].float().flip(turned) for name in NAMES}
        save_soft_targets(tmp_path / "soft.safetensors", tensors["id"].tolist(), answers)
        settings = {"weights": str(trained), "soft_targets": str(tmp_path / "soft.safetensors"), "soft_weight": 1.0}
        training = training_on(cleaned, tmp_path / "x", **settings, dropout=0, fashion_weight=0.0)
        training.optimizer.step = lambda: None
        training.model.eval()
        losses.append(training.train_one_batch(*batch_of(training, range(12))))
    entropies = sum(-(p[:12] * p[:12].log()).sum(dim=1).mean() for p in (tensors[n].double() for n in NAMES))
    assert losses[0] < losses[1] - 0.05
    assert losses[0] >= entropies.item()  # which it would reach on the photographs themselves


def test_another_networks_answers_are_followed(cleaned, tmp_path):
    """They say the contrary of the labels, and are learnt by heart."""
    rows = rows_of_split(read_table(cleaned), "train")
    encoders = LabelEncoders.fit({a.column: rows[a.column] for a in ATTRIBUTES})
    last = {
        n: torch.zeros(len(rows), c).index_fill(1, torch.tensor([c - 1]), 1) for n, c in encoders.num_classes.items()
    }
    save_soft_targets(tmp_path / "soft.safetensors", rows["id"].tolist(), last)
    settings = {"soft_targets": str(tmp_path / "soft.safetensors"), "soft_weight": 0.9, "dropout": 0}
    training = at_its_peak(training_on(cleaned, tmp_path, **settings))
    views, indices = batch_of(training, range(8))
    for _ in range(15):
        training.train_one_batch(views, indices)
    with torch.no_grad():
        logits = training.model(training._images(views))
    for name, of_attribute in logits.items():
        assert (of_attribute.argmax(dim=1) == encoders.num_classes[name] - 1).float().mean() > 0.9


def test_checkpoints_that_do_not_fit_are_no_start(trained, cleaned, tmp_path, capsys):
    other = with_labels(trained, tmp_path / "other")
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(other))) == 2
    assert "other labels" in capsys.readouterr().err
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(trained), "--backbone", "efficientnet_v2_s")) == 2
    assert "has backbone efficientnet_lite0, linear heads" in capsys.readouterr().err
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(trained), "--heads", "moe")) == 2
    assert "this run has backbone efficientnet_lite0, moe heads, 4 experts" in capsys.readouterr().err
    silent = shutil.copytree(trained, tmp_path / "silent")
    (silent / "trained_on.txt").unlink()
    for directory, reason in ((silent, "has no trained_on.txt"), (tmp_path / "typo", "no such weights file")):
        assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(directory))) == 2
        assert f"{directory}" in (printed := capsys.readouterr().err)
        assert reason in printed


def test_pictures_that_the_start_knows_are_not_validated_on(trained, cleaned, tmp_path):
    start = shutil.copytree(trained, tmp_path / "start")
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    known = table.loc[table["split"] == "validation", "id"].iloc[0]
    with (start / "trained_on.txt").open("a") as file:
        file.write(f"{known}\n")
    assert len(training_on(cleaned, tmp_path, weights=str(start)).validation[0]) == 7


def test_a_run_with_a_start_and_soft_targets_resumes(trained, prepared, tmp_path, capsys):
    path = soft_targets(tmp_path, trained, prepared)
    more = ["--soft-targets", str(path), "--weights", str(trained)]
    assert main(smoke_fit(prepared, tmp_path / "run", *more)) == 0
    assert main(smoke_fit(prepared, tmp_path / "run", *more, "--resume")) == 0  # nothing is left to do
    tensors = load_file(path)
    save_soft_targets(path, tensors["id"].tolist(), {name: tensors[name].float().flip(1) for name in NAMES})
    capsys.readouterr()
    assert main(smoke_fit(prepared, tmp_path / "run", *more, "--resume")) == 2
    assert "'taken_over'" in capsys.readouterr().err


def test_the_weights_of_a_larger_network_are_saved_in_files_that_a_space_takes(cleaned, tmp_path):
    training = training_on(cleaned, tmp_path / "run", backbone=FitConfig("", "").backbone)
    training.save_best({})
    files = weight_files(tmp_path / "run")
    assert len(files) > 1
    assert all(file.stat().st_size < 10_000_000 for file in files)
    assert load_checkpoint(tmp_path / "run").config.backbone == "efficientnet_lite2"


def test_the_first_epochs_see_smaller_photographs(cleaned, tmp_path):
    settings = {"first_size": (96, 96), "first_epochs": 3, "mirrored": True, "heads_steps": 1}
    training = training_on(cleaned, tmp_path, **settings)
    config = training.config
    assert (config.first_size, config.first_epochs, config.epochs) == ((32, 32), 1, 2)
    assert training.model.config.mirrored
    seen, measured = set(), set()
    training.model.backbone[0].register_forward_pre_hook(lambda _, args: seen.add(tuple(args[0].shape[2:])))
    training.average.module.backbone[0].register_forward_pre_hook(
        lambda _, args: measured.add(tuple(args[0].shape[2:]))
    )
    training.train_heads()
    assert seen == {(32, 32)}
    seen.clear()
    for epoch, size in enumerate(((32, 32), (64, 64))):
        training.train_one_epoch(epoch)
        assert seen == {size}
        seen.clear()
        training.save_best(training.validate())
        assert measured == {size}
        measured.clear()
        assert load_checkpoint(tmp_path).config.image_size == size


def test_heads_are_trained_first_at_the_whole_size_if_there_is_no_smaller_one(cleaned, tmp_path):
    training = training_on(cleaned, tmp_path, heads_steps=1)
    seen = set()
    training.model.backbone[0].register_forward_pre_hook(lambda _, args: seen.add(tuple(args[0].shape[2:])))
    training.train_heads()
    assert seen == {(64, 64)}
    assert training.model.config.image_size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--first-size", "64", "64"], "needs a number of first epochs"),
        (["--first-epochs", "2"], "needs a number of first epochs"),
        (["--first-size", "64", "64", "--first-epochs", "-1"], "above 0 and below that of all"),
        (["--first-size", "64", "64", "--first-epochs", "4"], "above 0 and below that of all"),
        (["--first-size", "64", "48", "--first-epochs", "2"], "must be a square smaller than (128, 128)"),
        (["--first-size", "160", "160", "--first-epochs", "2"], "must be a square smaller than (128, 128)"),
        (["--first-size", "32", "32", "--first-epochs", "2", "--backbone", "vit_ti_8"], "input of one size"),
    ],
)
def test_first_sizes_that_cannot_be_are_refused(cleaned, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(cleaned), "--output", str(tmp_path), "--image-size", "128", "128", *arguments])
    assert message in capsys.readouterr().err


def test_rare_labels_come_more_often_by_the_square_root_of_their_rarity():
    targets = torch.tensor([[0, 0]] * 90 + [[0, 1]] * 9 + [[1, 0]])
    factors = repeat_factors(targets, share=0.16)
    assert factors[:90].tolist() == [1] * 90
    assert factors[90].item() == pytest.approx((0.16 / 0.09) ** 0.5)
    assert factors[99].item() == pytest.approx(4)
    assert (repeat_factors(targets, share=0) == 1).all()
    drawn = draw_epoch(factors, torch.Generator().manual_seed(1))
    assert len(drawn) == math.ceil(factors.sum().item())
    assert drawn.count(99) in (4, 5)
    assert all(drawn.count(row) in (1, 2) for row in range(99))
    assert drawn != sorted(drawn)
    assert draw_epoch(factors, torch.Generator().manual_seed(1)) == drawn


@pytest.mark.parametrize(
    "network",
    [("--backbone", "efficientnet_v2_s", "--frozen-stages", "2"), ("--backbone", "vit_ti_8", "--heads-steps", "1")],
)
def test_other_backbones_go_the_same_way(cleaned, tmp_path, network):
    assert main(smoke_fit(cleaned, tmp_path, *network)) == 0
    classifier = FashionClassifier.from_pretrained(tmp_path)
    assert classifier.config.backbone == network[1]
    photograph = next(iter((cleaned / "images").iterdir()))
    assert classifier.explain(photograph, "season").size == open_image(photograph).size


def test_even_use_of_the_experts_costs_nothing_and_one_for_all_the_most():
    assert uneven_use(torch.full((5, 4), 0.25)) == 0
    assert uneven_use(torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)) == pytest.approx(3)
    assert uneven_use(torch.eye(4)) == 0  # each photograph has its own


def test_balance_evens_out_the_use_of_the_experts(cleaned, tmp_path):
    """Of experts of which one has nearly all at first."""
    used, together = [], []
    for balance in (0.0, 10.0):
        training = training_on(cleaned, tmp_path, heads="moe", experts=3, balance=balance, frozen_stages=6, dropout=0)
        for gate in training.model.heads.gates.values():
            torch.nn.init.constant_(gate.bias, 0)
            with torch.no_grad():
                gate.bias[0] = 2.0
        at_its_peak(training)
        views, indices = batch_of(training, range(12))
        for _ in range(12):
            training.train_one_batch(views, indices)
        with torch.no_grad():
            pooled = training.model.pool(training.model.features(training._images(views)))
        shares = training.model.heads.gate_shares(pooled)
        used.append(uneven_use(shares["color"]).item())
        together.append(uneven_use(torch.cat(list(shares.values()))).item())
    assert used[1] < 0.5 * used[0]
    assert together[1] < 0.5 * together[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--balance", "5"], "--balance has to be"),
        (["--heads", "moe", "--balance", "-1"], "--balance has to be"),
        (["--experts", "3"], "heads must be"),
        (["--average", "1"], "average must be at least 0 and below 1"),
        (["--average", "nan"], "average must be"),
        (["--soft-weight", "1.1"], "soft_weight must be at least 0 and at most 1"),
        (["--soft-weight", "-0.1"], "soft_weight must be"),
        (["--imagenet-weight", "-1"], "imagenet_weight must be a number from 0 on"),
        (["--imagenet-weight", "inf"], "imagenet_weight must be"),
        (["--fashion-weight", "-1"], "fashion_weight must be"),
        (["--fashion-weight", "nan"], "fashion_weight must be"),
        (["--heads-steps", "-1"], "heads_steps must be"),
        (["--epochs", "-1"], "epochs must be"),
        (["--epochs", "0"], "nothing is trained"),
        (["--heads-steps", "1.5"], "invalid int value"),
        (["--frozen-stages", "-1"], "frozen_stages must be"),
        (["--image-size", "128", "96"], "photographs are trained on in a square; the image size is (128, 96)"),
        (["--image-size", "100", "100", "--backbone", "vit_ti_8"], "must be multiples of 8"),
        (["--teachers", "runs/x"], "unrecognized arguments"),
        (["--sharp", "sharp"], "unrecognized arguments"),
        (["--label-smoothing", "0.1"], "unrecognized arguments"),
    ],
)
def test_options_that_cannot_mean_anything_are_refused(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    printed = capsys.readouterr().err
    assert "error: " in printed
    assert message in printed


def test_averaging_and_telling_fashion_can_be_left_out():
    config, resume = parse_arguments(["--data", "data", "--output", "run", "--average", "0", "--fashion-weight", "0"])
    assert (config.average, config.fashion_weight, resume) == (0, 0, False)


def test_a_mixture_has_four_experts_if_nothing_else_is_asked_for():
    config, _ = parse_arguments(["--data", "data", "--output", "run", "--heads", "moe"])
    assert (config.heads, config.experts) == ("moe", 4)


def test_a_missing_or_damaged_photograph_is_named(cleaned, tmp_path, capsys):
    """Those of the validation split are read only after an epoch, by other processes."""
    moved = shutil.copytree(cleaned, tmp_path / "data", ignore=shutil.ignore_patterns("decoded"))
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
    assert f"fit: {trained}: The file is empty" in capsys.readouterr().err
    trained.unlink()
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert f"fit: {trained} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["phone/images", "sharp/images", "everyday/train", "backgrounds/train"])
def test_a_damaged_picture_of_any_kind_is_named(prepared, tmp_path, capsys, kind):
    moved = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("decoded"))
    table = pd.read_csv(moved / "phone" / "phone.csv", dtype=str)
    products = pd.read_csv(moved / "cleaned_styles.csv", dtype=str)
    trained = {*table.loc[table["split"] == "train", "image"], *products.loc[products["split"] == "train", "id"]}
    pictures = sorted((moved / kind).iterdir())
    picture = next(p for p in pictures if p.stem in trained or "images" not in kind)
    picture.write_bytes(picture.read_bytes()[:200])
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert f"fit: {picture}: The image is damaged or cut off." in capsys.readouterr().err


def test_weights_that_cannot_be_had_are_a_sentence_and_an_exit_status(cleaned, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no copy from an earlier download
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # and none to be had
    arguments = smoke_fit(cleaned, tmp_path / "run", "--backbone", "efficientnet_v2_s", "--weights", "imagenet")
    assert main(arguments) == 2
    assert "name a local file or use none" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate", "calibrate", "soft_targets"])
def test_missing_data_is_a_sentence_and_an_exit_status(command, trained, tmp_path, capsys):
    output, checkpoint = ["--output", str(tmp_path / "run")], ["--checkpoint", str(trained)]
    options = {"fit": output, "soft_targets": output + checkpoint}.get(command, checkpoint)
    assert main([command, "--data", str(tmp_path), *options]) == 2
    assert "data_prep.clean_data" in capsys.readouterr().err


def test_photographs_are_decoded_once_and_come_back_to_the_pixel(cleaned, tmp_path):
    paths = sorted((cleaned / "images").iterdir())[:5]
    for _ in range(2):
        photographs = DecodedPhotographs(paths, tmp_path)
        assert len(photographs) == 5
        assert all(photographs[i].tobytes() == open_image(path).tobytes() for i, path in enumerate(paths))
    assert len(list(tmp_path.iterdir())) == 2
    DecodedPhotographs(paths[:3], tmp_path)
    assert len(list(Path(tmp_path).iterdir())) == 4


def test_photographs_of_several_shapes_are_decoded_each_to_its_own(prepared, tmp_path):
    paths = [*sorted((prepared / "everyday" / "train").iterdir())[:3], *sorted((prepared / "images").iterdir())[:2]]
    photographs = DecodedPhotographs(paths, tmp_path)
    assert len({picture.size for picture in map(Image.open, paths)}) > 1
    assert all(photographs[i].tobytes() == open_image(path).tobytes() for i, path in enumerate(paths))
