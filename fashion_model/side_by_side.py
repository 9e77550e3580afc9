"""Several backbones as one: they look at the same photograph, and their feature maps lie side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class SideBySide(nn.Module):
    """The same stage of several backbones, each on its own channels of the map before: (B, C, h, w) → (B, C', h', w').

    `channels` are those of each one's input; None gives each all of it, as the first stages get the photograph. The
    stages must leave their input as it is.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int] | None):
        super().__init__()
        self.stages, self.channels = nn.ModuleList(stages), channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split(self.channels, dim=1) if self.channels else [x] * len(self.stages)
        return torch.cat([stage(part) for stage, part in zip(self.stages, parts, strict=True)], dim=1)


def side_by_side(backbones: Sequence[nn.Sequential]) -> nn.Sequential:
    """Several backbones as one, which shares their weights: each stage ends in batch normalisation.

    ValueError if one has more stages than another; their grids have to be the same at every stage.
    """
    together, channels = [], None
    for stages in zip(*backbones, strict=True):
        together.append(SideBySide(stages, channels))
        channels = [_channels_out(stage) for stage in stages]
    return nn.Sequential(*together)


def _channels_out(stage: nn.Module) -> int:
    return [module.num_features for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1]
