"""Photograph → network input. The only place that resizes and normalises, for training and for the app alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from fashion_model.model import ModelConfig

Transform = Callable[[Image.Image], torch.Tensor]


def eval_transform(config: ModelConfig) -> Transform:
    """RGB photograph of any size → (3, H, W) float32, normalised.

    Whatever comes is first made what the network was trained on, so that its answer cannot hang on resolution or
    compression: a thumbnail of the catalogue's size, whole, its proportions kept, on white, JPEG-compressed.
    """
    enlarge = v2.Resize(config.image_size, InterpolationMode.BICUBIC)
    return v2.Compose([*thumbnail_steps(config), enlarge, *_normalise(config)])


def train_transform(config: ModelConfig, augmentations: Sequence[nn.Module] = ()) -> Transform:
    """As `eval_transform`, after `augmentations`, and with a random crop of 80 to 100 % and a random mirror."""
    height, width = config.image_size
    crop = v2.RandomResizedCrop(
        (height, width),
        scale=(0.8, 1.0),
        ratio=(0.9 * width / height, 1.1 * width / height),
        interpolation=InterpolationMode.BICUBIC,
    )
    return v2.Compose([*augmentations, *thumbnail_steps(config), crop, v2.RandomHorizontalFlip(), *_normalise(config)])


def thumbnail_steps(config: ModelConfig) -> list[nn.Module]:
    """What makes every photograph a thumbnail of the catalogue's kind, before it is enlarged and normalised."""
    return [Letterbox(config.thumbnail_size), Compress(config.jpeg_quality)]


def _normalise(config: ModelConfig) -> list[nn.Module]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(config.mean), list(config.std))]


def letterbox_box(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a photograph of `size` (width, height) lies in a `frame` (height, width): left, top, right, bottom."""
    frame_height, frame_width = frame
    scale = min(frame_width / size[0], frame_height / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (frame_width - width) // 2, (frame_height - height) // 2
    return left, top, left + width, top + height


class Letterbox(nn.Module):
    """Resize the photograph to fit into the frame (height, width) and centre it on white, as catalogues do."""

    def __init__(self, frame: tuple[int, int]):
        super().__init__()
        self.frame = frame

    def forward(self, image: Image.Image) -> Image.Image:
        left, top, right, bottom = letterbox_box(image.size, self.frame)
        resized = image.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        if resized.size == self.frame[::-1]:
            return resized
        canvas = Image.new("RGB", self.frame[::-1], "white")
        canvas.paste(resized, (left, top))
        return canvas


class Compress(nn.Module):
    """One trip through JPEG compression."""

    def __init__(self, quality: int):
        super().__init__()
        self.quality = quality

    def forward(self, image: Image.Image) -> Image.Image:
        return jpeg(image, self.quality)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """`image` after one trip through JPEG compression."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
