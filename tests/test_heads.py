"""Linear heads, and a mixture of experts."""

import pytest
import torch
from torch import nn

from fashion_model.attributes import NAMES
from fashion_model.heads import build_heads

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


def test_the_mixture_learns_what_no_linear_layer_can():
    assert learnt("moe", experts=2) > 0.8
    assert learnt("linear", experts=0) < 0.6


@torch.inference_mode()
def test_an_answer_is_what_the_gate_takes_of_each_expert():
    torch.manual_seed(0)
    heads, pooled = build_heads("moe", 8, CLASSES, dropout=0.5, experts=3).eval(), torch.randn(5, 8)
    experts = heads.experts(pooled).relu().split(256, dim=1)
    for name, logits in heads(pooled).items():
        shares = heads.gates[name](pooled).softmax(dim=1)
        taken = sum(shares[:, i : i + 1] * expert for i, expert in enumerate(experts))
        torch.testing.assert_close(logits, heads.linear[name](taken))
        torch.testing.assert_close(heads.gate_shares(pooled)[name], shares)


@torch.inference_mode()
def test_linear_heads_have_no_gates():
    heads, pooled = build_heads("linear", 8, CLASSES, dropout=0.5, experts=0).eval(), torch.randn(5, 8)
    assert heads.gate_shares(pooled) == {}
    for name, logits in heads(pooled).items():
        torch.testing.assert_close(logits, heads.linear[name](pooled))


@pytest.mark.parametrize(("kind", "experts"), [("linear", 2), ("moe", 1), ("moe", 0), ("linear+moe", 2), ("both", 0)])
def test_heads_that_cannot_be_are_refused(kind, experts):
    with pytest.raises(ValueError, match="heads must be linear with 0 experts, or moe with at least 2, not"):
        build_heads(kind, 8, CLASSES, dropout=0.1, experts=experts)
