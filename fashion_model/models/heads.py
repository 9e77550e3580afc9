"""Heads: pooled features (B, C) → logits (B, classes) of each attribute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

LINEAR, MOE = "linear", "moe"
EXPERT_WIDTH = 256


class LinearHeads(nn.Module):
    """Dropout and one linear layer for each attribute."""

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(channels, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: linear(self.dropout(pooled)) for name, linear in self.linear.items()}

    def gates_of(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Linear heads have no gates."""
        return {}


class MoEHeads(nn.Module):
    """Multi-gate mixture of experts (Ma et al., KDD 2018).

    All attributes share the experts, of one layer each. The gate of an attribute weights the experts for each image;
    dropout and a linear layer classify the weighted sum.
    """

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int):
        super().__init__()
        self.experts = nn.Linear(channels, experts * EXPERT_WIDTH)  # all experts in one layer
        self.gates = nn.ModuleDict({name: nn.Linear(channels, experts) for name in num_classes})
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(EXPERT_WIDTH, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        experts = self.experts(pooled).relu().unflatten(1, (-1, EXPERT_WIDTH))  # (B, experts, width)
        sums = {name: torch.einsum("be,bew->bw", gate, experts) for name, gate in self.gates_of(pooled).items()}
        return {name: linear(self.dropout(sums[name])) for name, linear in self.linear.items()}

    def gates_of(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, C) → attribute name → weight of each expert (B, experts); a row sums to 1."""
        return {name: gate(pooled).softmax(dim=1) for name, gate in self.gates.items()}


def check_heads(kind: str, experts: int) -> None:
    """ValueError unless `kind` is linear with 0 experts, or moe with at least 2."""
    if not ((kind == LINEAR and experts == 0) or (kind == MOE and experts >= 2)):
        wanted = f"{LINEAR} with 0 experts, or {MOE} with at least 2"
        raise ValueError(f"heads must be {wanted}, not {kind!r} with {experts}")


def build_heads(
    kind: str, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int
) -> LinearHeads | MoEHeads:
    """Random weights. ValueError as from `check_heads`."""
    check_heads(kind, experts)
    if kind == LINEAR:
        return LinearHeads(channels, num_classes, dropout)
    return MoEHeads(channels, num_classes, dropout, experts)
