"""Attention rollout (Abnar and Zuidema, ACL 2020): what reaches a transformer's last map through all attentions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torchvision.models.vision_transformer import EncoderBlock

from fashion_model.explain import joined_maps
from fashion_model.model import MultiTaskClassifier


def has_attention(model: MultiTaskClassifier) -> bool:
    return any(isinstance(stage, EncoderBlock) for stage in model.backbone)


@torch.no_grad()
def attention_rollout(model: MultiTaskClassifier, image: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """Image (1, 3, H, W) → the feature map (1, C, h, w), and how much of each place reaches it (h, w) in [0, 1].

    The same for every class. Attention is averaged over heads, and half of each token goes past each block; the heads
    pool all places alike, so what reaches them is averaged. ValueError for a backbone without attention.
    """
    if not has_attention(model):
        raise ValueError(f"{model.config.backbone} has no attention to roll out")
    feature_maps, heats = zip(*(_rolled_out(model, view[None]) for view in model.views(image)), strict=True)
    return model.joined(torch.cat(feature_maps)), joined_maps(heats)


def _rolled_out(model: MultiTaskClassifier, view: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    x, flow = view, None
    for stage in model.backbone:
        if isinstance(stage, EncoderBlock):
            attention = attention_of(stage, x)
            step = (attention + torch.eye(len(attention), device=x.device)) / 2
            flow = step if flow is None else step @ flow
        x = stage(x)
    reaching = model.as_map(flow[1:].mean(dim=0)[None, :, None])[0, 0].cpu().numpy()
    low, high = reaching.min(), reaching.max()
    return x, (reaching - low) / max(high - low, 1e-9)


def attention_of(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """(1, n, C) → (n, n): how much each token takes of each, averaged over heads."""
    normalised = block.ln_1(tokens)
    return block.self_attention(normalised, normalised, normalised, need_weights=True)[1][0]
