import pytest
import torch
from torch import nn

from fashion_model.models.multitask import build_heads
from tests.conftest import NAMES

CLASSES = dict.fromkeys(NAMES, 2)


def checkered(rows):
    """Features (N, 8) and targets (N, 4): in one of two classes where two of the features have the same sign."""
    pooled = torch.randn(rows, 8)
    targets = torch.stack([(pooled[:, i] * pooled[:, i + 1] > 0).long() for i in range(4)], dim=1)
    return pooled, targets


@torch.no_grad()
def right(heads, pooled, targets):
    logits = heads.eval()(pooled)
    return torch.stack([logits[name].argmax(1) == targets[:, i] for i, name in enumerate(NAMES)]).float().mean().item()


def learnt(kind, experts):
    """The share of new answers that are right after learning 6,000 others."""
    torch.manual_seed(0)
    pooled, targets = checkered(6000)
    heads = build_heads(kind, 8, CLASSES, dropout=0.1, experts=experts).train()
    optimizer = torch.optim.AdamW(heads.parameters(), 3e-3)
    for _ in range(8):
        for batch in torch.randperm(len(pooled)).split(256):
            logits = heads(pooled[batch])
            loss = sum(nn.functional.cross_entropy(logits[n], targets[batch, i]) for i, n in enumerate(NAMES))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return right(heads, *checkered(1000))


def test_experts_learn_what_no_linear_layer_can():
    assert learnt("moe", experts=2) > 0.8
    assert learnt("linear", experts=0) < 0.6


@torch.inference_mode()
def test_logits_are_of_the_gated_sum_of_experts():
    torch.manual_seed(0)
    heads, pooled = build_heads("moe", 8, CLASSES, dropout=0.5, experts=3).eval(), torch.randn(5, 8)
    experts = heads.experts(pooled).relu().split(256, dim=1)
    for name, logits in heads(pooled).items():
        shares = heads.gates[name](pooled).softmax(dim=1)
        taken = sum(shares[:, i : i + 1] * expert for i, expert in enumerate(experts))
        torch.testing.assert_close(logits, heads.linear[name](taken))
        torch.testing.assert_close(heads.gates_of(pooled)[name], shares)


@torch.inference_mode()
def test_a_gate_can_choose_one_expert(tiny_encoders):
    torch.manual_seed(0)
    heads = build_heads("moe", 8, tiny_encoders.num_classes, dropout=0.0, experts=3)
    pooled = torch.randn(5, 8)
    gate = heads.gates["season"]
    gate.weight.zero_()
    gate.bias.copy_(torch.tensor([-100.0, 100.0, -100.0]))
    logits = heads(pooled)
    weight, bias = heads.experts.weight[256:512], heads.experts.bias[256:512]
    alone = heads.linear["season"]((pooled @ weight.T + bias).relu())
    torch.testing.assert_close(logits["season"], alone)
    assert {n: tuple(x.shape) for n, x in logits.items()} == {n: (5, c) for n, c in tiny_encoders.num_classes.items()}
    for shares in heads.gates_of(pooled).values():
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(5))
    assert not torch.equal(heads.gates_of(pooled)["color"], heads.gates_of(pooled)["gender"])


@torch.inference_mode()
def test_linear_heads_have_no_gates():
    heads, pooled = build_heads("linear", 8, CLASSES, dropout=0.5, experts=0).eval(), torch.randn(5, 8)
    assert heads.gates_of(pooled) == {}
    for name, logits in heads(pooled).items():
        torch.testing.assert_close(logits, heads.linear[name](pooled))


@pytest.mark.parametrize(("kind", "experts"), [("linear", 2), ("moe", 1), ("moe", 0), ("linear+moe", 2), ("both", 0)])
def test_unknown_kinds_of_heads_are_refused(kind, experts):
    with pytest.raises(ValueError, match="heads must be linear with 0 experts, or moe with at least 2, not"):
        build_heads(kind, 8, CLASSES, dropout=0.1, experts=experts)
