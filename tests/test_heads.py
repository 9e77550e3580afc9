"""A mixture of experts beside linear heads, fitted to features that stay as they are."""

import dataclasses
import shutil

import pytest
import torch

from fashion_model.attributes import NAMES
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from fashion_model.heads import build_heads
from fashion_model.model import MultiTaskClassifier
from train.__main__ import main
from train.dataset import encode_targets, read_photographs, read_table, rows_of_split
from train.evaluation import features_of, measure, probabilities_of
from train.heads import fit_mixture

CLASSES = dict.fromkeys(NAMES, 2)


def checkered(rows):
    """Features (N, 8) and targets (N, 4): in one of two classes where two of the features have the same sign."""
    pooled = torch.randn(rows, 8)
    targets = torch.stack([(pooled[:, i] * pooled[:, i + 1] > 0).long() for i in range(4)], dim=1)
    return pooled, targets


@torch.no_grad()
def right(heads, pooled, targets):
    logits = heads(pooled)
    return torch.stack([logits[name].argmax(1) == targets[:, i] for i, name in enumerate(NAMES)]).float().mean().item()


def test_the_mixture_learns_what_no_linear_layer_can():
    torch.manual_seed(0)
    pooled, targets = checkered(6000)
    targets[:300] = -1  # labels that the network does not know
    heads = fit_mixture(pooled, targets, CLASSES, experts=2)
    assert right(heads, *checkered(1000)) > 0.8


@torch.no_grad()
def test_the_scale_of_the_features_does_not_matter_and_constant_ones_are_not_looked_at():
    torch.manual_seed(0)
    pooled, targets = checkered(512)
    pooled[:, 7] = 3.0
    scale, offset = torch.rand(8) * 20 + 0.1, torch.randn(8) * 5
    with torch.enable_grad():
        plain = fit_mixture(pooled, targets, CLASSES, experts=2)
        scaled = fit_mixture(pooled * scale + offset, targets, CLASSES, experts=2)
        seeded = fit_mixture(pooled, targets, CLASSES, experts=2, seed=1)
    tried = torch.randn(20, 8)
    for name in NAMES:
        answers = plain(tried)[name]
        torch.testing.assert_close(scaled(tried * scale + offset)[name], answers, atol=0.05, rtol=0.05)
        assert (seeded(tried)[name] - answers).abs().max() > 0.05


@torch.inference_mode()
def test_both_heads_have_their_say():
    heads = build_heads("linear+moe", 8, CLASSES, dropout=0.5, experts=2).eval()
    pooled = torch.randn(5, 8)
    linear, mixed, both = heads.linear(pooled), heads.mixture(pooled), heads(pooled)
    for name in NAMES:
        torch.testing.assert_close(both[name], (linear[name] + mixed[name]) / 2)
    assert heads.gate_shares(pooled)["color"].shape == (5, 2)


@pytest.fixture
def familiar(trained, tmp_path):
    """The trained checkpoint, calibrated, and knowing what is familiar to it."""
    loaded = load_checkpoint(trained)
    model = loaded.model
    model.config = dataclasses.replace(model.config, temperatures=dict.fromkeys(NAMES, 2.0), fashion_threshold=-1.0)
    pooled = torch.rand(50, 1280)
    model.familiarity.fit(pooled, model.heads(pooled))
    save_checkpoint(tmp_path / "run", model, loaded.encoders)
    (tmp_path / "run" / "trained_on.txt").write_text("1\n")
    return tmp_path / "run"


def fit_heads(checkpoint, data, output, *more):
    arguments = ["heads", "--checkpoint", str(checkpoint), "--data", str(data), "--output", str(output), *more]
    return main([*arguments, "--device", "cpu"])


def test_the_command_adds_a_mixture_and_leaves_the_rest(familiar, cleaned, tmp_path, capsys):
    assert fit_heads(familiar, cleaned, tmp_path / "both", "--experts", "3") == 0
    assert "run train novelty" in capsys.readouterr().out
    before, after = load_checkpoint(familiar), load_checkpoint(tmp_path / "both")
    assert after.config == dataclasses.replace(before.config.unfitted(), heads="linear+moe", experts=3)
    tensors = after.model.state_dict()
    for key, tensor in before.model.state_dict().items():
        kept = tensors.pop(key.replace("heads.linear", "heads.linear.linear"))
        if not key.startswith("familiarity"):
            assert torch.equal(kept, tensor.to(torch.float16).to(tensor.dtype)), key
    assert all(key.startswith("heads.mixture.") for key in tensors)
    assert (after.model.fashion_scores(torch.rand(5, 1280)) == 0).all()  # until it is fitted to the new answers
    table = read_table(cleaned)
    trained_on = {int(line) for line in (tmp_path / "both" / "trained_on.txt").read_text().split()}
    assert trained_on == {1, *table.loc[table["split"] == "train", "id"]}
    assert fit_heads(familiar, cleaned, tmp_path / "both") == 2
    assert "exists already" in capsys.readouterr().err


def test_the_mixture_is_fitted_to_training_photographs(trained, cleaned, tmp_path):
    """It makes the answers to them more certain than the linear heads alone were after two epochs."""
    assert fit_heads(trained, cleaned, tmp_path / "both") == 0
    losses = []
    for directory in (trained, tmp_path / "both"):
        loaded = load_checkpoint(directory)
        rows = rows_of_split(read_table(cleaned), "train")
        pooled = features_of(loaded.model, read_photographs(cleaned, rows))
        losses.append(measure(probabilities_of(loaded.model, pooled), encode_targets(rows, loaded.encoders), False))
    assert losses[1]["cross_entropy_sum"] < losses[0]["cross_entropy_sum"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (shutil.rmtree, "is not a directory"),
        (lambda checkpoint: (checkpoint / "trained_on.txt").unlink(), "has no trained_on.txt"),
        (lambda checkpoint: (checkpoint / "config.json").write_text("{}"), "config.json"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(spoil, reason, trained, cleaned, tmp_path, capsys):
    checkpoint = tmp_path / "run"
    shutil.copytree(trained, checkpoint)
    spoil(checkpoint)
    assert fit_heads(checkpoint, cleaned, tmp_path / "both") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_heads_that_are_no_linear_ones_and_impossible_mixtures_are_an_error(
    trained, tiny_model, tiny_encoders, cleaned, tmp_path, capsys
):
    model = MultiTaskClassifier(dataclasses.replace(tiny_model.config, heads="moe", experts=2))
    save_checkpoint(tmp_path / "moe", model, tiny_encoders)
    (tmp_path / "moe" / "trained_on.txt").write_text("1\n")
    assert fit_heads(tmp_path / "moe", cleaned, tmp_path / "both") == 2
    assert "has moe heads; it needs linear ones" in capsys.readouterr().err
    for experts in ("1", "65"):
        with pytest.raises(SystemExit):
            fit_heads(trained, cleaned, tmp_path / "both", "--experts", experts)
    assert "from 0 to 64; it is 65" in capsys.readouterr().err
