"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, for small processors.

Architecture and weights: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
torchvision has no Lite variant, so the blocks are put together here from its Conv2dNormActivation.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation, StochasticDepth

# expansion, kernel, stride, output channels, repeats, of Lite0
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
INNER = (False, *[True] * (len(STAGES) - 2), False)  # those that grow deeper
STEM_CHANNELS, FEATURE_CHANNELS = 32, 1280
STOCHASTIC_DEPTH = 0.2  # at the last block, growing linearly from 0


class SamePadConv2d(nn.Conv2d):
    """Pads at stride 2 as TensorFlow does, more at the bottom and right, as the published weights expect."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == (1, 1):
            return super().forward(x)
        padding: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[-2:]), self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, padding), self.weight, self.bias, self.stride, 0, 1, self.groups)


class _ConvNormActivation(Conv2dNormActivation):
    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU6,
    ):
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        super().__init__(
            channels_in,
            channels_out,
            kernel,
            stride,
            groups=groups,
            norm_layer=norm,
            activation_layer=activation,
            inplace=True if activation else None,
        )
        if stride != 1:
            self[0] = SamePadConv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)


class LiteBlock(nn.Module):
    """Inverted residual: expand 1×1, depthwise k×k, project 1×1, and add where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int, drop: float):
        super().__init__()
        inner = channels_in * expansion
        layers = [_ConvNormActivation(channels_in, inner, 1)] if expansion != 1 else []
        layers += [
            _ConvNormActivation(inner, inner, kernel, stride, groups=inner),
            _ConvNormActivation(inner, channels_out, 1, activation=None),
        ]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and channels_in == channels_out
        self.stochastic_depth = StochasticDepth(drop, "row")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return x + self.stochastic_depth(y) if self.adds else y


def _multiple_of_8(channels: float) -> int:
    """The nearest, but never more than a tenth less (https://arxiv.org/abs/1905.11946, reference code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def efficientnet_lite(width: float = 1.0, depth: float = 1.0) -> nn.Sequential:
    """Stem, seven stages, last 1×1 convolution: (B, 3, H, W) → (B, 1280, H/32, W/32).

    `width` multiplies the channels of the stages, `depth` the blocks in each but the first and the last: 1 and 1 in
    Lite0, 1 and 1.1 in Lite1, 1.1 and 1.2 in Lite2.
    """
    stages: list[nn.Module] = [_ConvNormActivation(3, STEM_CHANNELS, 3, 2)]
    shapes = [
        (expansion, kernel, stride, _multiple_of_8(channels * width), math.ceil(repeats * depth) if inner else repeats)
        for inner, (expansion, kernel, stride, channels, repeats) in zip(INNER, STAGES, strict=True)
    ]
    channels, block, blocks = STEM_CHANNELS, 0, sum(shape[-1] for shape in shapes)
    for expansion, kernel, stride, channels_out, repeats in shapes:
        layers = []
        for i in range(repeats):
            drop = STOCHASTIC_DEPTH * block / blocks
            layers.append(LiteBlock(channels, channels_out, expansion, kernel, stride if i == 0 else 1, drop))
            channels, block = channels_out, block + 1
        stages.append(nn.Sequential(*layers))
    stages.append(_ConvNormActivation(channels, FEATURE_CHANNELS, 1))
    return nn.Sequential(*stages)
