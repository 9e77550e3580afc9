"""MultiTaskClassifier: one backbone shared by all attributes, global average pooling, and heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fashion_model.models.backbones import Backbone
from fashion_model.models.config import LINEAR, ModelConfig, check_heads

EXPERT_WIDTH = 256


class MultiTaskClassifier(nn.Module):
    """Images (B, 3, H, W) → {attribute name: logits (B, classes)}. Built with random weights."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, config.image_size)
        channels = self.backbone.channels
        self.heads = build_heads(config.heads, channels, config.num_classes, config.dropout, config.experts)
        self.fashion = nn.Linear(channels, 1)
        nn.init.zeros_(self.fashion.weight)  # until trained, every image counts as a fashion product
        nn.init.zeros_(self.fashion.bias)

    def pool(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) → (B, C)."""
        return feature_map.mean(dim=(2, 3))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → pooled features (B, C)."""
        return self.pool(self.backbone(images))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.heads(self.features(images))

    def fashion_scores(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, C) → (B,): log odds that the image shows a fashion product."""
        return self.fashion(pooled)[:, 0]

    def calibrate(self, logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Logits (B, classes) of each attribute → probabilities of the same shape, at least in float32."""
        return {
            name: torch.softmax(x.to(torch.promote_types(x.dtype, torch.float32)) / self.config.temperatures[name], 1)
            for name, x in logits.items()
        }


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


def build_heads(
    kind: str, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int
) -> LinearHeads | MoEHeads:
    """Random weights. ValueError as from `check_heads`."""
    check_heads(kind, experts)
    if kind == LINEAR:
        return LinearHeads(channels, num_classes, dropout)
    return MoEHeads(channels, num_classes, dropout, experts)
