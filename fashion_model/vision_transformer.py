"""Vision Transformer (Dosovitskiy et al., ICLR 2021) as a backbone: its last tokens, as a feature map.

The encoder's blocks are torchvision's, and the tensors stand in the order of its `VisionTransformer`, so that its
weights fit. The class token takes part in attention but is not looked at: the heads pool the map, as they do with
convolutional backbones, and Grad-CAM finds each place's own share.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.vision_transformer import EncoderBlock
from torchvision.ops import Conv2dNormActivation

NORM = partial(nn.LayerNorm, eps=1e-6)


class Positions(nn.Module):
    """Adds to each token, (B, 1 + h·w, C), what is learnt for its place in the grid (h, w)."""

    def __init__(self, grid: tuple[int, int], channels: int):
        super().__init__()
        self.grid = grid
        self.embedding = nn.Parameter(torch.empty(1, 1 + grid[0] * grid[1], channels).normal_(std=0.02))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.embedding


class Tokens(nn.Module):
    """Images (B, 3, H, W) → tokens (B, 1 + h·w, C): the class token, then the patches row by row."""

    def __init__(self, patches: nn.Module, grid: tuple[int, int], channels: int):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.patches = patches  # (B, 3, H, W) → (B, C, h, w)
        self.positions = Positions(grid, channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)  # (B, h·w, C)
        return self.positions(torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1))


class FeatureMap(nn.Module):
    """Tokens (B, 1 + h·w, C) → feature map (B, C, h, w), normalised."""

    def __init__(self, grid: tuple[int, int], channels: int):
        super().__init__()
        self.grid = grid
        self.norm = NORM(channels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return as_map(self.norm(tokens), self.grid)


def as_map(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Tokens (B, 1 + h·w, C) → (B, C, h, w), without the class token."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def vision_transformer(
    image_size: tuple[int, int], patches: nn.Module, patch: int, channels: int, blocks: int, heads: int
) -> nn.Sequential:
    """(B, 3, H, W) → (B, channels, H/patch, W/patch). `patches` makes a vector of each patch of `patch` pixels."""
    grid = (image_size[0] // patch, image_size[1] // patch)
    encoder = [EncoderBlock(heads, channels, 4 * channels, 0.0, 0.0, NORM) for _ in range(blocks)]
    return nn.Sequential(Tokens(patches, grid, channels), *encoder, FeatureMap(grid, channels))


def vit_b_16(image_size: tuple[int, int]) -> nn.Sequential:
    """86 million parameters, as torchvision's."""
    return vision_transformer(image_size, nn.Conv2d(3, 768, 16, 16), 16, channels=768, blocks=12, heads=12)


def vit_ti_8(image_size: tuple[int, int]) -> nn.Sequential:
    """ViT-Ti (Touvron et al., ICML 2021) on patches of 8 pixels, 5.6 million parameters.

    Three convolutions make the patches, without which it learns little from so few photographs (Xiao et al., NeurIPS
    2021).
    """
    widths = (3, 48, 96, 192)
    stem = [Conv2dNormActivation(a, b, 3, 2) for a, b in pairwise(widths)]
    patches = nn.Sequential(*stem, nn.Conv2d(widths[-1], widths[-1], 1))
    return vision_transformer(image_size, patches, 8, channels=192, blocks=12, heads=3)


def resized_positions(embedding: torch.Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> torch.Tensor:
    """Positions (1, 1 + h·w, C) learnt on `grid` → interpolated to the grid `wanted`."""
    places = functional.interpolate(as_map(embedding, grid), wanted, mode="bicubic", align_corners=False)
    return torch.cat([embedding[:, :1], places.flatten(2).transpose(1, 2)], dim=1)
