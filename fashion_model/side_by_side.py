"""Several backbones as one: they look at the same photograph, and their feature maps lie side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class SideBySide(nn.Module):
    """The same stage of several backbones, each on its own channels of the map before: (B, C, h, w) → (B, C', h', w').

    `channels` are those of each one's input; without, each gets all of it, as the first stages get the photograph.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int] = ()):
        super().__init__()
        self.stages, self.channels = nn.ModuleList(stages), list(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split(self.channels, dim=1) if self.channels else [x] * len(self.stages)
        return torch.cat([stage(part) for stage, part in zip(self.stages, parts, strict=True)], dim=1)


def side_by_side(backbones: Sequence[nn.Sequential]) -> nn.Sequential:
    """Backbones of batch-normalised stages, as many in each and of the same grids, as one. It shares their weights."""
    together, channels = [], []
    for stages in zip(*backbones, strict=True):
        together.append(SideBySide(stages, channels))
        channels = [_channels_out(stage) for stage in stages]
    return nn.Sequential(*together)


def _channels_out(stage: nn.Module) -> int:
    return [module.num_features for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1]
