import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from fashion_model.checkpoint import load_checkpoint
from fashion_model.models.backbones import WeightsError
from tests.conftest import NAMES
from tests.train.conftest import BACKBONE, config_of, trainer_for
from train.fit.command import save
from train.fit.config import CONSTANTS, SHARES, UNRELATED
from train.fit.start import ImageNetTeacher
from train.fit.trainer import DivergenceError, load_imbalance


def batch_of(trainer, *names, count=4):
    """Views of the first images of each domain by seed 0, and their indices; of all domains if none is named."""
    indices = []
    for name in names or dict.fromkeys(domain.name for domain, _ in trainer.training_set.images):
        indices += [i for i, (domain, _) in enumerate(trainer.training_set.images) if domain.name == name][:count]
    return torch.stack([trainer.training_set[i, 0][0] for i in indices]), torch.tensor(indices)


@torch.no_grad()
def outputs_of_model(trainer, batch):
    """Logits, fashion scores and pooled features."""
    pooled = trainer.model.features(trainer.normalise(batch[0]))
    return trainer.model.heads(pooled), trainer.model.fashion_scores(pooled), pooled


def tensors_of(module):
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}


def unchanged(before, module):
    """The keys of the tensors that are bit for bit what they were."""
    return {key for key, tensor in module.state_dict().items() if torch.equal(before[key], tensor)}


def test_loss_is_that_of_the_known_labels(prepared, tmp_path):
    trainer, _ = trainer_for(prepared, tmp_path, dropout=0.0, learning_rate=1e-30)
    batch = batch_of(trainer, count=2)
    torch.nn.init.normal_(trainer.model.fashion.weight, std=0.1)
    trainer.model.eval()  # so that batch norm computes the same twice
    logits, scores, _ = outputs_of_model(trainer, batch)
    is_fashion = trainer.training_set.is_fashion[batch[1]]
    expected = 0.5 * functional.binary_cross_entropy_with_logits(scores, is_fashion)
    for name in NAMES:
        targets = trainer.training_set.targets[name][batch[1]]
        assert not targets[is_fashion == 0].any()  # unknown labels cost nothing
        expected += functional.cross_entropy(logits[name], targets, reduction="sum") / len(batch[1])
    assert trainer.train_one_batch(*batch) == pytest.approx(expected.item(), rel=1e-4)


def test_average_of_the_weights_is_saved(cleaned, tmp_path, monkeypatch):
    monkeypatch.setitem(CONSTANTS, "ema_decay", 0.3)
    trainer, data = trainer_for(cleaned, tmp_path)
    weight, average = (model.heads.linear["color"].weight for model in (trainer.model, trainer.ema.module))
    expected = torch.zeros_like(weight)
    for decay in (0, 2 / 11, 3 / 12, 0.3, 0.3):
        trainer.train_one_batch(*batch_of(trainer, "thumbnails"))
        expected = decay * expected + (1 - decay) * weight.detach()
    assert torch.allclose(average, expected, atol=1e-6)
    assert not torch.allclose(average, weight)
    save(tmp_path, trainer, data, {"history": []}, data.trained_on)
    assert torch.equal(load_checkpoint(tmp_path).model.heads.linear["color"].weight, average.half().float())


def test_frozen_stages_stay_as_they_are(cleaned, tmp_path):
    trainer, _ = trainer_for(cleaned, tmp_path, frozen_stages=2)
    before = tensors_of(trainer.model.backbone)
    trainer.train_one_epoch(0)
    frozen = {k for k in before if k.startswith(("net.conv_stem", "net.bn1", "net.blocks.0", "net.blocks.1"))}
    for model in (trainer.model, trainer.ema.module):
        same = unchanged(before, model.backbone)
        assert frozen <= same
        assert not any(key.endswith(("weight", "running_mean", "running_var")) for key in same - frozen)
    with pytest.raises(WeightsError, match="frozen_stages: the backbone has 5 stages; 5 cannot be its first ones"):
        trainer_for(cleaned, tmp_path, frozen_stages=5)


def test_linear_probe_trains_the_heads_alone(prepared, tmp_path):
    trainer, _ = trainer_for(prepared, tmp_path, linear_probe_steps=2)
    backbone, heads = tensors_of(trainer.model.backbone), tensors_of(trainer.model.heads)
    trainer.train_heads()
    assert unchanged(backbone, trainer.model.backbone) == set(backbone)
    assert not unchanged(heads, trainer.model.heads)
    assert trainer.model.fashion.weight.any()
    trainer.train_one_batch(*batch_of(trainer, "thumbnails"))
    assert unchanged(backbone, trainer.model.backbone) != set(backbone)


def test_first_epochs_have_smaller_inputs(cleaned, tmp_path):
    settings = {"small_image_size": (32, 32), "small_epochs": 1, "epoch_views": 32}
    trainer, data = trainer_for(cleaned, tmp_path, **settings)
    seen = []
    for model in (trainer.model, trainer.ema.module):
        model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    for epoch in (0, 1):
        trainer.train_one_epoch(epoch)
        trainer.validate(data.validation)
    assert seen == [(32, 32)] * 3 + [(64, 64)] * 3


def test_learning_rate_rises_stays_and_falls(cleaned, tmp_path):
    trainer, _ = trainer_for(cleaned, tmp_path, epochs=60, epoch_views=160, cooldown_epochs=2)
    factors = [trainer.learning_rate_factor(step) for step in range(600)]
    assert factors[:500] == pytest.approx([(step + 1) / 500 for step in range(500)])
    assert factors[500:580] == [1] * 80
    assert factors[580:] == pytest.approx([left / 21 for left in range(20, 0, -1)])
    trainer.restart(trainer.ema.module, 10)  # warms up again
    assert trainer.learning_rate_factor(100) == pytest.approx(1 / 500)


def test_loss_that_is_not_finite_stops_training(cleaned, tmp_path):
    trainer, data = trainer_for(cleaned, tmp_path, linear_probe_steps=1)
    for model in (trainer.model, trainer.ema.module):
        torch.nn.init.constant_(model.heads.linear["color"].bias, math.nan)
    for step in (trainer.train_heads, lambda: trainer.train_one_epoch(0), lambda: trainer.validate(data.validation)):
        with pytest.raises(DivergenceError, match="a smaller learning_rate is needed"):
            step()


def test_uneven_use_of_experts_costs():
    assert load_imbalance(torch.full((5, 4), 0.25)) == 0
    assert load_imbalance(torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)) == pytest.approx(3)
    assert load_imbalance(torch.eye(4)) == 0  # each image has its own


def test_imagenet_predictions_are_kept(cleaned, imagenet_file, tmp_path, monkeypatch):
    monkeypatch.setitem(CONSTANTS, "warmup_steps", 1)  # so that a few steps learn
    teacher = ImageNetTeacher(BACKBONE, (64, 64))
    before, losses = tensors_of(teacher), []
    for weight in (5.0, 0.0):
        settings = {"weights": str(imagenet_file), "frozen_stages": 1, "dropout": 0.0, "learning_rate": 3e-5}
        trainer, _ = trainer_for(cleaned, tmp_path, imagenet_distillation_weight=weight, **settings)
        trainer.teacher = teacher if weight else None
        batch = batch_of(trainer, "thumbnails", count=12)
        images = trainer.normalise(batch[0])
        trainer.model.eval()  # as the teacher; also while it is trained
        assert teacher(images, outputs_of_model(trainer, batch)[2]).item() == pytest.approx(0, abs=1e-4)
        for _ in range(6):
            trainer.train_one_batch(*batch)
        losses.append(teacher(images, outputs_of_model(trainer, batch)[2]).item())
    assert 0.1 < losses[0] < 0.6 * losses[1]
    assert unchanged(before, teacher) == set(before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": "moe"}, "heads must be"),
        ({"dropout": 1.1}, "dropout must be from 0 to 1"),
        ({"epochs": 0}, "epochs must be a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"shares": {"phone": 1.1}}, "phone must be from 0 to 1"),
        ({"shares": {"other_sources": 0.1}}, r"unknown are \['other_sources'\]"),
        ({"image_size": (128, 96)}, r"image_size must be a square; it is \(128, 96\)"),
        ({"small_epochs": 2}, "small_image_size needs small_epochs"),
        ({"backbone": "efficentnet_lite2"}, "unknown backbone 'efficentnet_lite2'; similar are"),
    ],
)
def test_invalid_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(**settings)


def test_settings_are_what_decides_the_result():
    settings = config_of().settings()
    others = {"data": Path("x"), "output": Path("y"), "device": "cuda", "workers": 4, "resume": True}
    assert set(others) == set(UNRELATED)
    assert config_of(**others).settings() == settings
    assert config_of(seed=1).settings() != settings
    assert settings["shares"] == SHARES
    assert (settings["augmentation"]["paste_worn"], settings["ema_decay"]) == (0.12, 0.9995)
