import dataclasses
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
from safetensors.torch import load_file

from fashion_model import FashionClassifier
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.checkpoint import load_checkpoint, weight_files
from fashion_model.images import open_image
from fashion_model.transforms import eval_transform
from tests.conftest import ROOT, smoke_fit
from train import metrics as metrics_module
from train.__main__ import main
from train.dataset import DecodedPhotographs, draw_epoch, repeat_factors
from train.fit import FIT, fit, parse_arguments
from train.fit_config import FitConfig
from train.metrics import Answers
from train.training import Training, uneven_use


def test_fit_writes_a_checkpoint_directory(trained, cleaned):
    assert {path.name for path in trained.iterdir()} == {
        "model.safetensors",
        "config.json",
        "label_encoders.json",
        "metrics.json",
        "trained_on.txt",
        "training",
    }
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["split"] == "validation"
    log = pd.read_csv(trained / "training" / "log.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert metrics["cross_entropy_sum"] == pytest.approx(log["validation_loss"].min())
    assert np.isfinite(log["loss"]).all()
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    trained_ids = {int(line) for line in (trained / "trained_on.txt").read_text().split()}
    assert trained_ids == set(table.loc[table["split"] == "train", "id"])


def test_evaluate_prints_and_writes_what_predict_says_of_the_test_split(trained, cleaned, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    arguments = ["evaluate", "--checkpoint", str(trained), "--data", str(cleaned), "--split", "test"]
    assert main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(output.read_text())
    assert (metrics["split"], metrics["rows"], metrics["calibration_bins"]) == ("test", 8, 15)
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
    known = "None of the pictures measured below is among those it was trained on."
    assert main(arguments) == 0
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert known in card
    assert "each with\na confidence, which is not calibrated. " in card
    (checkpoint / "trained_on.txt").unlink()
    assert main(arguments) == 0
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert known not in card
    assert "Whether it was trained on some of the pictures measured below is not known." in card


def test_training_learns_a_handful_of_photographs_by_heart(cleaned, tmp_path):
    """Twelve photographs over and over: the loss reaches its gradients through every head and the backbone."""
    config = FitConfig(
        str(cleaned),
        str(tmp_path),
        weights="none",
        image_size=(64, 48),
        epochs=10,
        dropout=0,
        label_smoothing=0,
        learning_rate=3e-3,
        device="cpu",
    )
    training = Training(config)
    training.model.train()
    training.scheduler.step = lambda: None  # at the start of its cycle the rate is low
    training.optimizer.param_groups[0]["lr"] = config.learning_rate
    plain = eval_transform(training.model.config)
    images = torch.stack([plain(training.train_set.photographs[i]) for i in range(12)])
    losses = [training.train_one_batch(images, training.train_set.targets[:12], {}) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


def test_an_interrupted_run_resumes_to_the_same_result(trained, cleaned, tmp_path):
    """Killed after its first epoch, as a machine would do it."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "train", *smoke_fit(cleaned, folder)]
    state = folder / "training" / "state.pt"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be interrupted"
    assert len(torch.load(state, weights_only=True)["history"]) == 1
    assert main(smoke_fit(cleaned, folder, "--resume")) == 0
    for file in ("model.safetensors", "metrics.json", "trained_on.txt"):
        if file.endswith("safetensors"):
            tensors, expected = load_file(folder / file), load_file(trained / file)
            assert tensors.keys() == expected.keys()
            assert all(torch.equal(tensors[key], expected[key]) for key in expected)
        else:
            assert (folder / file).read_text() == (trained / file).read_text()


@pytest.mark.parametrize("largest_decay", [0.999, 0.3, 0])
def test_the_average_of_the_weights_is_what_is_saved_and_measured(cleaned, tmp_path, largest_decay):
    config = FitConfig(str(cleaned), str(tmp_path), weights="none", average=largest_decay, device="cpu").shrunk()
    training = Training(config)
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
    assert torch.allclose(average, expected, atol=1e-6)
    assert torch.allclose(average, steps[-1]) == (largest_decay == 0)
    assert not torch.equal(steps[-1], start)
    training.save_best(training.validate())
    stored = load_file(tmp_path / "model.safetensors")["heads.linear.color.weight"]
    assert torch.equal(stored, average.half())


def test_a_run_goes_on_from_a_checkpoint_and_learns_from_teachers(trained, cleaned, tmp_path):
    start = shutil.copytree(trained, tmp_path / "start")
    with (start / "trained_on.txt").open("a") as file:
        file.write("7654321\n")  # whatever it knows, the new checkpoint knows
    config = FitConfig(str(cleaned), str(tmp_path / "x"), weights=str(start), teachers=(str(trained), str(trained)))
    training = Training(dataclasses.replace(config, device="cpu").shrunk())
    stored = load_file(start / "model.safetensors")
    assert all(torch.equal(tensor.float(), training.model.state_dict()[key].float()) for key, tensor in stored.items())
    assert 7654321 in training.trained_ids
    assert len(training.taken_over) == 3
    table = pd.read_csv(cleaned / "cleaned_styles.csv", keep_default_na=False)
    first = cleaned / "images" / f"{table.loc[table['split'] == 'train', 'id'].iloc[0]}.jpg"
    teacher = FashionClassifier.from_pretrained(trained).predict([first])[0]
    for name in NAMES:
        lesson = training.lessons[name]
        assert lesson.shape == (len(training.train_set), len(teacher[name].labels))
        assert np.allclose(lesson[0], teacher[name].probabilities, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_the_lessons_of_the_teachers_lower_the_loss_of_whoever_follows_them(cleaned, tmp_path, smoothing):
    config = FitConfig(str(cleaned), str(tmp_path), weights="none", label_smoothing=smoothing, device="cpu")
    training = Training(config.shrunk())
    targets = training.train_set.targets[:8]
    images = torch.stack([training.train_set[i][0] for i in range(8)])
    training.optimizer.step = lambda: None
    training.model.eval()
    with torch.no_grad():
        logits = training.model(images)
    own = {name: logits[name].softmax(dim=1) for name in NAMES}
    labels = sum(-own[name].log()[torch.arange(8), targets[:, i]].mean() for i, name in enumerate(NAMES))
    evenly = sum(-own[name].log().mean() for name in NAMES)  # the part of a label that all labels get
    labels = (1 - smoothing) * labels + smoothing * evenly
    entropy = sum(-(own[name] * own[name].log()).sum(dim=1).mean() for name in NAMES)
    assert training.train_one_batch(images, targets, {}) == pytest.approx(labels.item(), rel=1e-4)
    assert training.train_one_batch(images, targets, own) == pytest.approx((labels + entropy).item() / 2, rel=1e-4)


def test_teachers_with_other_labels_are_refused(trained, cleaned, tmp_path, capsys):
    other = shutil.copytree(trained, tmp_path / "other")
    encoders = json.loads((other / "label_encoders.json").read_text())
    encoders["season"]["0"] = "Monsoon"
    (other / "label_encoders.json").write_text(json.dumps(encoders))
    for option in ("--teachers", "--weights"):
        assert main(smoke_fit(cleaned, tmp_path / "run", option, str(other))) == 2
        assert "other labels" in capsys.readouterr().err
    assert main(smoke_fit(cleaned, tmp_path / "run", "--weights", str(trained), "--backbone", "efficientnet_v2_s")) == 2
    assert "has backbone efficientnet_lite0, linear heads" in capsys.readouterr().err


def test_teachers_that_do_not_say_what_they_were_trained_on_are_refused(trained, cleaned, tmp_path, capsys):
    silent = shutil.copytree(trained, tmp_path / "silent")
    (silent / "trained_on.txt").unlink()
    for directory, reason in ((silent, "has no trained_on.txt"), (tmp_path / "typo", "is not a directory")):
        assert main(smoke_fit(cleaned, tmp_path / "run", "--teachers", str(directory))) == 2
        assert f"{directory} {reason}" in capsys.readouterr().err


def test_pictures_that_a_teacher_knows_are_not_validated_on(trained, cleaned, tmp_path):
    teacher = shutil.copytree(trained, tmp_path / "teacher")
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    known = table.loc[table["split"] == "validation", "id"].iloc[0]
    with (teacher / "trained_on.txt").open("a") as file:
        file.write(f"{known}\n")
    config = FitConfig(str(cleaned), str(tmp_path), weights="none", teachers=(str(teacher),), device="cpu")
    assert len(Training(config.shrunk()).validation["thumbnails"][1]) == 7


def test_an_input_of_another_shape_than_the_thumbnails_is_refused(cleaned, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(cleaned), "--output", str(tmp_path), "--image-size", "224", "224"])
    assert "must have the proportions of thumbnail_size" in capsys.readouterr().err


def test_a_run_with_teacher_start_and_sharp_photographs_resumes(trained, cleaned, tmp_path):
    table = pd.read_csv(cleaned / "cleaned_styles.csv", keep_default_na=False)
    images = tmp_path / "sharp" / "images"
    images.mkdir(parents=True)
    for product in [
        *table.loc[table["split"] == "train", "id"][:5],
        *table.loc[table["split"] == "validation", "id"][:2],
    ]:
        open_image(cleaned / "images" / f"{product}.jpg").resize((180, 240)).save(images / f"{product}.jpg")
    more = ["--sharp", str(tmp_path / "sharp"), "--teachers", str(trained), "--weights", str(trained)]
    assert main(smoke_fit(cleaned, tmp_path / "run", *more)) == 0
    assert main(smoke_fit(cleaned, tmp_path / "run", *more, "--resume")) == 0  # nothing is left to do
    other = shutil.copytree(trained, tmp_path / "teacher")
    assert main(smoke_fit(cleaned, tmp_path / "run", *more[:3], str(other), *more[4:], "--resume")) == 2
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert (tensors["familiarity.basis"] == 0).all()
    log = pd.read_csv(tmp_path / "run" / "training" / "log.csv")
    assert set(log["sharp_color_accuracy"]) <= {0, 0.5, 1}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["rows"] == 8
    best = log.loc[log["validation_loss"].idxmin()]
    assert metrics["cross_entropy_sum"] == pytest.approx(best["thumbnails_cross_entropy_sum"])
    both = log["thumbnails_cross_entropy_sum"] + log["sharp_cross_entropy_sum"]
    assert log["validation_loss"].tolist() == pytest.approx(both.tolist())


def test_sharp_photographs_of_other_products_are_nothing_to_train_on(cleaned, tmp_path, capsys):
    images = tmp_path / "sharp" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (180, 240)).save(images / "1.jpg")
    assert main(smoke_fit(cleaned, tmp_path / "run", "--sharp", str(tmp_path / "sharp"))) == 2
    assert f"used of split 'train' has a photograph in {tmp_path / 'sharp'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("smaller_first", "best_epoch", "saved_ones"),
    [({}, 1, [2.0]), ({"first_size": (96, 72), "first_epochs": 1}, 2, [2.0, 1.9])],  # another size, other figures
)
def test_an_epoch_that_is_worse_on_sharp_photographs_is_not_saved(
    cleaned, tmp_path, monkeypatch, smaller_first, best_epoch, saved_ones
):
    measured = iter([(2.0, 3.0), (1.9, 3.5)])  # thumbnails, sharp
    figures = {"attributes": {name: {"accuracy": 0.5} for name in NAMES}}
    monkeypatch.setattr(
        Training,
        "validate",
        lambda self: {
            kind: figures | {"cross_entropy_sum": x}
            for kind, x in zip(("thumbnails", "sharp"), next(measured), strict=True)
        },
    )
    saved = []
    monkeypatch.setattr(Training, "save_best", lambda self, metrics: saved.append(metrics["cross_entropy_sum"]))
    config = FitConfig(str(cleaned), str(tmp_path), weights="none", device="cpu", **smaller_first).shrunk()
    assert fit(config)["epoch"] == best_epoch
    assert saved == saved_ones
    log = pd.read_csv(tmp_path / "training" / "log.csv")
    assert log["image_height"].tolist() == ([32, 64] if smaller_first else [64, 64])


def test_the_weights_of_a_larger_network_are_saved_in_files_that_a_space_takes(cleaned, tmp_path):
    config = FitConfig(
        str(cleaned), str(tmp_path / "run"), backbone="efficientnet_lite2", weights="none", device="cpu"
    ).shrunk()
    Training(config).save_best({"attributes": {}})
    files = weight_files(tmp_path / "run")
    assert len(files) > 1
    assert all(file.stat().st_size < 10_000_000 for file in files)
    assert load_checkpoint(tmp_path / "run").config.backbone == "efficientnet_lite2"


def test_a_state_from_before_the_sharp_photographs_counted_is_not_resumed(trained, cleaned, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    state = torch.load(run / "training" / "state.pt", weights_only=True)
    del state["fitting"]["chosen_by"]
    torch.save(state, run / "training" / "state.pt")
    assert main(smoke_fit(cleaned, run, "--resume")) == 2
    assert "chosen_by" in capsys.readouterr().err


def test_the_first_epochs_see_smaller_photographs(cleaned, tmp_path):
    config = FitConfig(
        str(cleaned), str(tmp_path), weights="none", first_size=(96, 72), first_epochs=4, mirrored=True, device="cpu"
    ).shrunk()
    assert (config.first_size, config.first_epochs, config.epochs) == ((32, 24), 1, 2)
    training = Training(config)
    assert training.model.config.mirrored
    sizes, measured = [], []
    backbone = training.average.module.backbone
    backbone.register_forward_pre_hook(lambda _, args: measured.append(tuple(args[0].shape[2:])))
    training.train_one_batch = lambda images, *others: sizes.append(tuple(images.shape[2:])) or 0.0
    for epoch, size in enumerate(((32, 24), (64, 48))):
        training.train_one_epoch(epoch)
        assert set(sizes) == {size}
        sizes.clear()
        training.save_best(training.validate()["thumbnails"])
        assert set(measured) == {size}
        measured.clear()
        assert load_checkpoint(tmp_path).config.image_size == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--first-size", "64", "48"], "needs a number of first epochs"),
        (["--first-epochs", "2"], "needs a number of first epochs"),
        (["--first-size", "64", "48", "--first-epochs", "-1"], "above 0 and below that of all"),
        (["--first-size", "64", "48", "--first-epochs", "7"], "above 0 and below that of all"),
        (["--first-size", "64", "64", "--first-epochs", "2"], "must be smaller than (128, 96), in its proportions"),
        (["--first-size", "160", "120", "--first-epochs", "2"], "must be smaller than (128, 96)"),
        (["--first-size", "32", "24", "--first-epochs", "2", "--backbone", "vit_ti_8"], "input of one size"),
    ],
)
def test_first_sizes_that_cannot_be_are_refused(cleaned, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(cleaned), "--output", str(tmp_path), "--image-size", "128", "96", *arguments])
    assert message in capsys.readouterr().err


def test_sharp_photographs_stand_in_for_thumbnails_half_the_time(cleaned, tmp_path):
    table = pd.read_csv(cleaned / "cleaned_styles.csv", keep_default_na=False)
    products = table.loc[table["split"] == "train", "id"].tolist()
    images = tmp_path / "sharp" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (360, 480), "red").save(images / f"{products[1]}.jpg")
    config = FitConfig(str(cleaned), str(tmp_path), weights="none", sharp=(str(tmp_path / "sharp"),), device="cpu")
    photographs = Training(config.shrunk()).train_set.photographs
    thumbnails = [open_image(cleaned / "images" / f"{product}.jpg").tobytes() for product in products[:2]]
    assert len(photographs) == len(products)
    assert {photographs[0].tobytes() for _ in range(20)} == {thumbnails[0]}
    torch.manual_seed(0)
    drawn = [photographs[1] for _ in range(40)]
    assert 10 < sum(picture.tobytes() == thumbnails[1] for picture in drawn) < 30
    assert {picture.size for picture in drawn} == {(60, 80)}


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


def test_the_settings_of_an_earlier_run_go_when_another_begins(trained, cleaned, tmp_path, monkeypatch):
    again = shutil.copytree(trained, tmp_path / "again")
    assert (again / FIT).is_file()

    def stop(self, epoch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "train_one_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        main(smoke_fit(cleaned, again))
    assert not (again / FIT).exists()


def test_resume_refuses_a_run_with_other_settings(trained, cleaned, capsys):
    assert main(smoke_fit(cleaned, trained, "--resume", "--seed", "1")) == 2
    assert "other settings" in capsys.readouterr().err


def test_efficientnet_v2_s_goes_the_same_way(cleaned, tmp_path):
    assert main(smoke_fit(cleaned, tmp_path, "--backbone", "efficientnet_v2_s")) == 0
    classifier = FashionClassifier.from_pretrained(tmp_path)
    assert classifier.config.backbone == "efficientnet_v2_s"
    photograph = next(iter((cleaned / "images").iterdir()))
    assert classifier.explain(photograph, "season").size == open_image(photograph).size


def test_even_use_of_the_experts_costs_nothing_and_one_for_all_the_most():
    assert uneven_use(torch.full((5, 4), 0.25)) == 0
    assert uneven_use(torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)) == pytest.approx(3)
    assert uneven_use(torch.eye(4)) == 0  # each photograph has its own


def test_balance_evens_out_the_use_of_the_experts(cleaned, tmp_path):
    used, together = [], []
    for balance in (0.0, 100.0):
        config = FitConfig(
            str(cleaned), str(tmp_path), heads="moe", experts=3, balance=balance, weights="none", device="cpu"
        )
        training = Training(config.shrunk())
        gate = training.model.heads.gates["color"]
        torch.nn.init.constant_(gate.bias, 0)
        with torch.no_grad():
            gate.bias[0] = 2.0
        training.train_one_epoch(0)
        images, _ = next(iter(torch.utils.data.DataLoader(training.train_set, 64)))
        with torch.no_grad():
            pooled = training.model.pool(training.model.features(images))
        shares = training.model.heads.gate_shares(pooled)
        used.append(uneven_use(shares["color"]).item())
        together.append(uneven_use(torch.cat(list(shares.values()))).item())
    assert used[1] < used[0]
    assert together[1] < together[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--balance", "5"],
        ["--heads", "moe", "--balance", "-1"],
        ["--experts", "3"],
        ["--average", "1"],
        ["--average", "nan"],
        ["--label-smoothing", "-0.1"],
        ["--label-smoothing", "1"],
        ["--light", "1.1"],
    ],
)
def test_options_that_cannot_mean_anything_are_refused(options, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    assert "error: " in capsys.readouterr().err


def test_smoothing_and_averaging_can_be_left_out():
    config, _ = parse_arguments(["--data", "data", "--output", "run", "--average", "0", "--label-smoothing", "0"])
    assert (config.average, config.label_smoothing) == (0, 0)


def test_a_mixture_has_four_experts_if_nothing_else_is_asked_for():
    config, _ = parse_arguments(["--data", "data", "--output", "run", "--heads", "moe"])
    assert (config.heads, config.experts) == ("moe", 4)


def test_resume_refuses_other_data(trained, cleaned, tmp_path, capsys):
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    table.loc[table["split"] == "train", "season"] = (
        table.loc[table["split"] == "train", "season"].iloc[::-1].to_numpy()
    )
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    assert main(smoke_fit(moved, trained, "--resume")) == 2
    assert "other settings or data" in capsys.readouterr().err


def test_a_missing_or_damaged_photograph_is_named(cleaned, tmp_path, capsys):
    moved = shutil.copytree(cleaned, tmp_path / "data")
    photograph = sorted((moved / "images").iterdir())[0]
    photograph.write_bytes(b"")
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert f"{photograph.name}: The file is empty" in capsys.readouterr().err
    photograph.unlink()
    assert main(smoke_fit(moved, tmp_path / "run")) == 2
    assert f"{photograph.name} is missing" in capsys.readouterr().err


def test_weights_that_cannot_be_had_are_a_sentence_and_an_exit_status(cleaned, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no copy from an earlier download
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # and none to be had
    arguments = smoke_fit(cleaned, tmp_path / "run", "--backbone", "efficientnet_v2_s", "--weights", "imagenet")
    assert main(arguments) == 2
    assert "name a local file or use none" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_missing_data_is_a_sentence_and_an_exit_status(command, trained, tmp_path, capsys):
    options = {"fit": ["--output", str(tmp_path / "run")], "evaluate": ["--checkpoint", str(trained)]}[command]
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
