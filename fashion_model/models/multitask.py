"""MultiTaskClassifier: one backbone shared by all attributes, global average pooling, and heads."""

from __future__ import annotations

import torch
from torch import nn

from fashion_model.models.backbones import Backbone
from fashion_model.models.config import ModelConfig
from fashion_model.models.heads import build_heads


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
