import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from fashion_model.checkpoint import load_checkpoint
from fashion_model.models.backbones import WeightsError
from tests.conftest import NAMES
from tests.train.conftest import trainer_for
from train.data.domains import THUMBNAILS
from train.data.training_set import EMPTY
from train.fit.command import _save_checkpoint
from train.fit.trainer import load_imbalance


def batch_of(trainer, indices):
    """Their views by seed 0, and the indices."""
    return torch.stack([trainer.training_set[i, 0][0] for i in indices]), torch.tensor(list(indices))


def of_domain(trainer, domain):
    return [index for index, found in enumerate(trainer.training_set.domains) if found == domain]


def tensors_of(module):
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}


def same(before, module):
    """Key → whether the tensor is bit for bit what it was."""
    return {key: torch.equal(before[key], tensor) for key, tensor in module.state_dict().items()}


def with_constant_rate(trainer, rate=3e-3):
    """Without the schedule, which starts and ends with low rates."""
    trainer.scheduler.step = lambda: None
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    trainer.model.train()
    return trainer


def seen_sizes(model, seen):
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.add(tuple(inputs[0].shape[2:])))


def test_training_memorizes_a_handful_of_images(cleaned, tmp_path):
    """The loss reaches its gradients through every head and the backbone."""
    trainer = with_constant_rate(trainer_for(cleaned, tmp_path, dropout=0.0)[0])
    batch = batch_of(trainer, range(12))
    losses = [trainer.train_one_batch(*batch) for _ in range(20)]
    assert losses[-1] < 0.3 * losses[0]


def test_everyday_images_teach_what_is_no_fashion_product(prepared, imagenet_file, tmp_path):
    trainer = trainer_for(prepared, tmp_path, dropout=0.0, weights=str(imagenet_file))[0]
    with_constant_rate(trainer, rate=1e-3)
    everyday = of_domain(trainer, "everyday")[:8]
    products = [*of_domain(trainer, "phone")[:4], *of_domain(trainer, "high_resolution")[:4]]
    views, indices = batch_of(trainer, [*everyday, *products])

    def scores():
        with torch.no_grad():
            return trainer.model.fashion_scores(trainer.model.features(trainer._images(views)))

    assert not scores().any()  # untrained
    for _ in range(40):
        trainer.train_one_batch(views, indices)
    assert scores()[:8].max() < 0 < scores()[8:].min()


def test_the_loss_of_a_batch_is_what_its_targets_say(prepared, tmp_path):
    """Unknown labels cost nothing; fashion or not has a weight of its own."""
    trainer = trainer_for(prepared, tmp_path, dropout=0.0, fashion_loss_weight=0.7)[0]
    domains = ("thumbnails", "high_resolution", "phone", "on_model", "everyday", "empty")
    views, indices = batch_of(trainer, [index for domain in domains for index in of_domain(trainer, domain)[:2]])
    trainer.model.eval()  # so that batch norm computes the same twice
    with torch.no_grad():
        torch.nn.init.normal_(trainer.model.fashion.weight, std=0.1)
        pooled = trainer.model.features(trainer._images(views))
        logits, scores = trainer.model.heads(pooled), trainer.model.fashion_scores(pooled)
    is_fashion = torch.tensor([1.0] * 8 + [0.0] * 4)
    expected = 0.7 * functional.binary_cross_entropy_with_logits(scores, is_fashion)
    for name in NAMES:
        targets = trainer.training_set.targets[name][indices]
        assert not targets[8:].any()
        expected += functional.cross_entropy(logits[name], targets, reduction="sum") / 12
    trainer.optimizer.step = lambda: None
    assert trainer.train_one_batch(views, indices) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("largest_decay", [0.999, 0.3, 0.0])
def test_the_average_of_the_weights_is_what_is_saved(cleaned, tmp_path, largest_decay):
    trainer, data = trainer_for(cleaned, tmp_path, ema_decay=largest_decay)
    start = trainer.model.heads.linear["color"].weight.detach().clone()
    steps = []
    update = trainer.ema.update_parameters

    def remember(model):
        update(model)
        steps.append(model.heads.linear["color"].weight.detach().clone())

    trainer.ema.update_parameters = remember
    trainer.train_one_epoch(0)
    expected = steps[0]
    for number, weight in enumerate(steps[1:], start=1):
        decay = min(largest_decay, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
    average = trainer.ema.module.heads.linear["color"].weight
    assert len(steps) > 1
    assert torch.allclose(average, expected, atol=1e-6)
    assert torch.allclose(average, steps[-1]) == (largest_decay == 0)
    assert not torch.equal(steps[-1], start)
    _save_checkpoint(tmp_path, trainer, data, data.trained_on)
    stored = load_file(tmp_path / "model.safetensors")["heads.linear.color.weight"]
    assert torch.equal(stored, average.half())


def test_frozen_stages_keep_their_weights_and_statistics_while_the_others_move(cleaned, tmp_path):
    trainer = trainer_for(cleaned, tmp_path, frozen_stages=2)[0]
    before = tensors_of(trainer.model.backbone)
    trainer.train_one_epoch(0)
    for model in (trainer.model, trainer.ema.module):
        kept = same(before, model.backbone)
        frozen = {k for k in kept if k.startswith(("net.conv_stem", "net.bn1", "net.blocks.0", "net.blocks.1"))}
        assert any("running_mean" in key for key in frozen)
        assert all(kept[key] for key in frozen)
        moved = [key for key in kept if key not in frozen]
        assert not any(kept[key] for key in moved if key.endswith(("weight", "running_mean", "running_var")))


def test_a_backbone_cannot_be_frozen_whole(cleaned, tmp_path):
    with pytest.raises(WeightsError, match="the backbone has 5 stages; 5 cannot be its first ones"):
        trainer_for(cleaned, tmp_path, frozen_stages=5)


def test_linear_probing_leaves_the_backbone_as_it_is(prepared, tmp_path):
    trainer = trainer_for(prepared, tmp_path, linear_probe_steps=2)[0]
    backbone, heads = tensors_of(trainer.model.backbone), tensors_of(trainer.model.heads)
    trainer.train_heads()
    assert all(same(backbone, trainer.model.backbone).values())
    assert not any(same(heads, trainer.model.heads).values())
    assert trainer.model.fashion.weight.any()
    assert all(same(tensors_of(trainer.model), trainer.ema.module).values())
    trainer.model.train()
    trainer.train_one_batch(*batch_of(trainer, range(4)))
    assert not all(same(backbone, trainer.model.backbone).values())


def test_the_first_epochs_have_smaller_inputs(cleaned, tmp_path):
    settings = {"small_image_size": (96, 96), "small_epochs": 3, "linear_probe_steps": 1}
    trainer, data = trainer_for(cleaned, tmp_path, **settings)
    seen, validated = set(), set()
    seen_sizes(trainer.model, seen)
    seen_sizes(trainer.ema.module, validated)
    trainer.train_heads()
    assert seen == {(32, 32)}
    seen.clear()
    for epoch, size in enumerate(((32, 32), (64, 64))):
        trainer.train_one_epoch(epoch)
        assert seen == {size}
        seen.clear()
        trainer.validate(data.validation)
        assert validated == {size}
        validated.clear()
        _save_checkpoint(tmp_path, trainer, data, data.trained_on)
        assert load_checkpoint(tmp_path).config.image_size == size


def test_without_smaller_inputs_the_heads_are_trained_at_the_full_size(cleaned, tmp_path):
    trainer = trainer_for(cleaned, tmp_path, linear_probe_steps=1)[0]
    seen = set()
    seen_sizes(trainer.model, seen)
    trainer.train_heads()
    assert seen == {(64, 64)}


def test_the_load_imbalance_is_0_for_even_use_and_largest_for_one_expert():
    assert load_imbalance(torch.full((5, 4), 0.25)) == 0
    assert load_imbalance(torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)) == pytest.approx(3)
    assert load_imbalance(torch.eye(4)) == 0  # each image has its own


def test_load_balancing_evens_out_the_use_of_the_experts(cleaned, tmp_path):
    """Of experts of which one has nearly all at first."""
    used, together = [], []
    for weight in (0.0, 10.0):
        settings = {"heads": "moe", "experts": 3, "load_balance_weight": weight, "frozen_stages": 4, "dropout": 0.0}
        trainer = trainer_for(cleaned, tmp_path, **settings)[0]
        for gate in trainer.model.heads.gates.values():
            torch.nn.init.constant_(gate.bias, 0)
            with torch.no_grad():
                gate.bias[0] = 2.0
        with_constant_rate(trainer)
        views, indices = batch_of(trainer, range(12))
        for _ in range(12):
            trainer.train_one_batch(views, indices)
        with torch.no_grad():
            gates = trainer.model.heads.gates_of(trainer.model.features(trainer._images(views)))
        used.append(load_imbalance(gates["color"]).item())
        together.append(load_imbalance(torch.cat(list(gates.values()))).item())
    assert used[1] < 0.5 * used[0]
    assert together[1] < 0.5 * together[0]
    assert math.isfinite(together[0])


def test_thumbnails_alone_are_trained_and_validated_on(prepared, tmp_path):
    trainer, data = trainer_for(prepared, tmp_path, thumbnails_only=True)
    assert set(trainer.training_set.domains) == {THUMBNAILS, EMPTY}
    assert trainer.training_set.plain
    assert [domain.name for domain in data.validation] == [THUMBNAILS]
