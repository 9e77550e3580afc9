"""MultiTaskClassifier: one backbone shared by all attributes, global average pooling, and heads."""

from collections.abc import Mapping

import torch
from torch import nn

from fashion_model.models.backbones import Backbone
from fashion_model.models.config import ModelConfig

EXPERT_WIDTH = 256
SCORES = (-20.0, 20.0)  # minimum and maximum of the fashion scores that temperatures follow


class MultiTaskClassifier(nn.Module):
    """Images (B, 3, H, W) → {attribute name: logits (B, classes)}. Built with random weights."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, config.image_size)
        channels = self.backbone.channels
        self.heads = Heads(channels, config.num_classes, config.dropout, config.experts)
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

    def calibrate(self, logits: dict[str, torch.Tensor], scores: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits (B, classes) of each attribute, fashion scores (B,) → probabilities, at least in float32."""
        config = self.config
        return {
            name: calibrated(x, scores, config.temperatures[name], config.temperature_slope)
            for name, x in logits.items()
        }


def calibrated(logits: torch.Tensor, scores: torch.Tensor, temperature: float, slope: float) -> torch.Tensor:
    """Logits (B, classes), fashion scores (B,) → probabilities (B, classes), at least in float32.

    The temperature (Guo et al., ICML 2017) is that of images with a fashion score of 0. The less an image looks like
    the products that the network knows, the higher it is.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sharper = torch.exp(slope * scores.to(wide.dtype).clamp(*SCORES))[:, None]
    return torch.softmax(wide * sharper / temperature, dim=1)


class Heads(nn.Module):
    """Dropout and one linear layer for each attribute.

    With `experts`, a multi-gate mixture of them (Ma et al., KDD 2018), of one layer each, which all attributes share:
    the gate of an attribute weights the experts for each image, and the linear layer classifies the weighted sum.
    """

    def __init__(self, channels: int, num_classes: Mapping[str, int], dropout: float, experts: int = 0):
        super().__init__()
        self.experts = nn.Linear(channels, experts * EXPERT_WIDTH) if experts else None  # all experts in one layer
        self.gates = nn.ModuleDict({name: nn.Linear(channels, experts) for name in num_classes if experts})
        self.dropout = nn.Dropout(dropout)
        width = EXPERT_WIDTH if experts else channels
        self.linear = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in num_classes.items()})

    def forward(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs = dict.fromkeys(self.linear, pooled)
        if self.experts:
            experts = self.experts(pooled).relu().unflatten(1, (-1, EXPERT_WIDTH))  # (B, experts, width)
            inputs = {name: torch.einsum("be,bew->bw", gate, experts) for name, gate in self.gates_of(pooled).items()}
        return {name: linear(self.dropout(inputs[name])) for name, linear in self.linear.items()}

    def gates_of(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, C) → attribute name → weight of each expert (B, experts); a row sums to 1. Without experts no gates."""
        return {name: gate(pooled).softmax(dim=1) for name, gate in self.gates.items()}
