"""What training does to a photograph so that the network cannot lean on what a visitor's photograph will not have."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from fashion_model.transforms import jpeg
from train.dataset import Photographs
from train.versions import on_background, product_mask


class RandomLight(nn.Module):
    """Under another lamp: 60 to 115 % of the brightness, and each channel 88 to 112 % of that."""

    def forward(self, image: Image.Image) -> Image.Image:
        brightness, *channels = torch.rand(4).tolist()
        gains = (0.6 + 0.55 * brightness) * (0.88 + 0.24 * np.array(channels))
        return Image.fromarray(np.clip(np.asarray(image) * gains, 0, 255).astype(np.uint8))


class RandomBackground(nn.Module):
    """Put the product before a plain color, a gradient or a blown-up piece of one of `photographs`.

    A photograph whose product cannot be told from its background, or nearly vanishes in it, stays as it is.
    """

    def __init__(self, photographs: Photographs, smallest_share: float = 0.15):
        super().__init__()
        self.photographs, self.smallest_share = photographs, smallest_share

    def forward(self, image: Image.Image) -> Image.Image:
        mask = product_mask(image)
        if mask is None or mask.mean() < self.smallest_share:
            return image
        return on_background(image, self._background(image.size), mask)

    def _background(self, size: tuple[int, int]) -> Image.Image:
        if torch.rand(()) < 0.5:
            # Four corners blended into each other; a plain color if they are the same.
            corners = torch.randint(20, 236, (2, 2, 3))
            same = torch.rand(()) < 0.5
            corners = corners[:1, :1].expand(2, 2, 3) if same else corners
            return Image.fromarray(corners.to(torch.uint8).numpy()).resize(size, Image.Resampling.BILINEAR)
        other = self.photographs[int(torch.randint(len(self.photographs), ()))]
        share, x, y = torch.rand(3).tolist()
        width, height = ((0.15 + 0.4 * share) * side for side in other.size)
        left, top = x * (other.width - width), y * (other.height - height)
        return other.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


class RandomReencode(nn.Module):
    """Resize to 70 to 130 % with a random filter and compress as JPEG of quality 30 to 97.

    The traces of compression follow the date of cataloguing and with it the season.
    """

    FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)

    def forward(self, image: Image.Image) -> Image.Image:
        scale, quality, filter_number = torch.rand(3).tolist()
        scale = 0.7 + 0.6 * scale
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, self.FILTERS[int(filter_number * len(self.FILTERS))])
        return jpeg(image, round(30 + 67 * quality))
