"""Photograph → network input. The only place that resizes and normalises, for training and for the app alike."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from fashion_model.model import ModelConfig

Transform = Callable[[Image.Image], torch.Tensor]


def eval_transform(config: ModelConfig) -> Transform:
    """RGB photograph of any size → (3, H, W) float32: whole, its proportions kept, on white, normalised."""
    return v2.Compose([Letterbox(config.image_size), *_normalise(config)])


def train_transform(config: ModelConfig, reencode: float) -> Transform:
    """As `eval_transform`, with a random crop of 80 to 100 % and a random mirror.

    `reencode` is the share of photographs that are first resampled and JPEG-compressed at random, so that the network
    cannot read the compression artefacts, which follow the date of cataloguing and with it the season.
    """
    height, width = config.image_size
    crop = v2.RandomResizedCrop(
        (height, width),
        scale=(0.8, 1.0),
        ratio=(0.9 * width / height, 1.1 * width / height),
        interpolation=InterpolationMode.BICUBIC,
    )
    steps = [v2.RandomApply([RandomReencode()], p=reencode), PadToShape(width / height), crop]
    return v2.Compose([*steps, v2.RandomHorizontalFlip(), *_normalise(config)])


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


class PadToShape(nn.Module):
    """Centre the photograph on white so that width / height is `ratio`; its pixels stay as they are."""

    def __init__(self, ratio: float):
        super().__init__()
        self.ratio = ratio

    def forward(self, image: Image.Image) -> Image.Image:
        width = max(image.width, round(image.height * self.ratio))
        height = max(image.height, round(image.width / self.ratio))
        return Letterbox((height, width))(image) if (width, height) != image.size else image


class RandomReencode(nn.Module):
    """Resize to 60 to 130 % with a random filter and compress as JPEG of quality 30 to 97."""

    FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)

    def forward(self, image: Image.Image) -> Image.Image:
        scale, quality, filter_number = torch.rand(3).tolist()
        scale = 0.6 + 0.7 * scale
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, self.FILTERS[int(filter_number * len(self.FILTERS))])
        return jpeg(image, round(30 + 67 * quality))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """`image` after one trip through JPEG compression."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
