"""Heads: pooled features (B, C) → for each attribute its logits (B, classes)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class LinearHeads(nn.Module):
    """For each attribute dropout and one linear layer."""

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(channels, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: linear(self.dropout(pooled)) for name, linear in self.linear.items()}


HEADS = {"linear": LinearHeads}
