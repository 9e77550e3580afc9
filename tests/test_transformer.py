"""A Vision Transformer with a mixture of experts goes the way of every checkpoint: all commands, the Hub, the app."""

import json
import re

import pytest
import torch
from gradio_client import Client, handle_file

import app
from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.images import open_image
from tests.conftest import smoke_fit
from train.__main__ import main
from train.fit_config import FitConfig
from train.training import Training

EXPERTS = 3
REPOSITORY = "user/transformer"


@pytest.fixture(scope="module")
def transformer(cleaned, tmp_path_factory):
    """Trained for seconds, calibrated and evaluated."""
    folder = tmp_path_factory.mktemp("runs") / "transformer"
    mixture = ["--heads", "moe", "--experts", str(EXPERTS), "--balance", "0.1"]
    assert main(smoke_fit(cleaned, folder, "--backbone", "vit_ti_8", *mixture)) == 0
    for command in ("calibrate", "evaluate"):
        assert main([command, "--checkpoint", str(folder), "--data", str(cleaned), "--device", "cpu"]) == 0
    return folder


@pytest.fixture
def photograph(cleaned):
    return next(iter((cleaned / "images").iterdir()))


def test_the_use_of_the_gates_is_measured_and_stands_in_the_card(transformer):
    gates = json.loads((transformer / "metrics.json").read_text())["gates"]
    card = (transformer / "README.md").read_text()
    for name in NAMES:
        assert len(gates[name]["mean"]) == len(gates[name]["deviation"]) == EXPERTS
        assert sum(gates[name]["mean"]) == pytest.approx(1)
    cells = [f"{100 * m:.1f} (±{100 * d:.1f})" for m, d in zip(*gates["season"].values(), strict=True)]
    assert f"| Season of use | {' | '.join(cells)} |" in card


def test_the_report_and_the_maps_are_made(transformer, cleaned, tmp_path, capsys):
    arguments = ["--checkpoint", str(transformer), "--data", str(cleaned)]
    assert main(["report", *arguments, "--output", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file()
    assert main(["explanations", *arguments, "--photographs", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^\| rollout \|( -?\d\.\d{3} \(±\d\.\d{3}\) \|){4}$", printed, re.MULTILINE)


def test_the_app_serves_it_from_the_hub(hub, pushing, transformer, photograph, tmp_path):
    assert main(["push_to_hub", "--checkpoint", str(transformer), "--repo", REPOSITORY]) == 0
    pushed = FashionClassifier.from_pretrained(REPOSITORY, cache_dir=tmp_path)
    assert (pushed.config.backbone, pushed.config.heads, pushed.config.experts) == ("vit_ti_8", "moe", EXPERTS)
    expected = FashionClassifier.from_pretrained(transformer).predict([photograph])[0]
    demo = app.build_demo(pushed)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **app.LAUNCH)
    *labels, overlay, _ = Client(address, verbose=False).predict(handle_file(photograph), "season", api_name="/predict")
    demo.close(verbose=False)
    assert [label["label"] for label in labels] == [expected[name].label for name in NAMES]
    assert open_image(overlay).size == open_image(photograph).size


def test_a_run_goes_on_from_it_with_another_input_size(transformer, cleaned, tmp_path):
    config = FitConfig(
        str(cleaned), str(tmp_path), "vit_ti_8", "moe", EXPERTS, weights=str(transformer), image_size=(96, 96)
    )
    before = FashionClassifier.from_pretrained(transformer)
    model = Training(config).model
    assert model.backbone[0].positions.grid == (12, 12)
    assert torch.equal(model.heads.linear["color"].weight, before._model.heads.linear["color"].weight)


def test_torchvisions_transformer_learns(cleaned, tmp_path):
    settings = {"weights": "none", "image_size": (64, 64), "batch_size": 4, "learning_rate": 1e-4}
    training = Training(FitConfig(str(cleaned), str(tmp_path), "vit_b_16", **settings))
    views, indices = next(iter(training._batches(0)))
    losses = [training.train_one_batch(views, indices) for _ in range(4)]
    assert losses[-1] < losses[0]
