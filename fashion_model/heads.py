"""Heads: pooled features (B, C) → for each attribute its logits (B, classes)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

LINEAR, MIXTURE = "linear", "moe"
EXPERT_WIDTH = 256


class LinearHeads(nn.Module):
    """For each attribute dropout and one linear layer."""

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(channels, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: linear(self.dropout(pooled)) for name, linear in self.linear.items()}

    def gate_shares(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """There are no gates."""
        return {}


class MixtureHeads(nn.Module):
    """Multi-gate mixture of experts (Ma et al., KDD 2018).

    All attributes share the experts, one layer each; each attribute has a gate, which says for every photograph how
    much it takes of each expert, and dropout and one linear layer on what it took.
    """

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int):
        super().__init__()
        self.experts = nn.Linear(channels, experts * EXPERT_WIDTH)  # side by side
        self.gates = nn.ModuleDict({name: nn.Linear(channels, experts) for name in num_classes})
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(EXPERT_WIDTH, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        experts = self.experts(pooled).relu().unflatten(1, (-1, EXPERT_WIDTH))  # (B, experts, width)
        taken = {n: torch.einsum("be,bew->bw", shares, experts) for n, shares in self.gate_shares(pooled).items()}
        return {name: linear(self.dropout(taken[name])) for name, linear in self.linear.items()}

    def gate_shares(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, C) → attribute → share of each expert (B, experts); a row sums to 1."""
        return {name: gate(pooled).softmax(dim=1) for name, gate in self.gates.items()}


def check_heads(kind: str, experts: int) -> None:
    """ValueError if there are no such heads with so many experts."""
    if not ((kind == LINEAR and experts == 0) or (kind == MIXTURE and experts >= 2)):
        wanted = f"{LINEAR} with 0 experts, or {MIXTURE} with at least 2"
        raise ValueError(f"heads must be {wanted}, not {kind!r} with {experts}")


def build_heads(kind: str, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int) -> nn.Module:
    """Random weights. ValueError as from `check_heads`."""
    check_heads(kind, experts)
    if kind == LINEAR:
        return LinearHeads(channels, num_classes, dropout)
    return MixtureHeads(channels, num_classes, dropout, experts)
