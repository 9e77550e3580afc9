"""Photograph → network input. The only place that resizes and normalises, for training and for the app alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fashion_model.models.config import ModelConfig

Transform = Callable[[Image.Image], torch.Tensor]


def eval_transform(config: ModelConfig) -> Transform:
    """RGB photograph of any size → (3, H, W) float32: letterboxed to the input size and normalised."""
    return partial(_to_input, letterbox=Letterbox(config.image_size), normalise=normalise(config))


def normalise(config: ModelConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """(…, 3, H, W) uint8 → float32, as the backbone's weights expect."""
    return partial(_normalised, mean=list(config.mean), std=list(config.std))


def _to_input(
    photograph: Image.Image, letterbox: Letterbox, normalise: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    return normalise(functional.pil_to_tensor(letterbox(photograph)))


def _normalised(pixels: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    return functional.normalize(functional.to_dtype(pixels, torch.float32, scale=True), mean, std)


def letterbox_box(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a photograph of `size` (width, height) lies in a `frame` (height, width): left, top, right, bottom."""
    frame_height, frame_width = frame
    scale = min(frame_width / size[0], frame_height / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (frame_width - width) // 2, (frame_height - height) // 2
    return left, top, left + width, top + height


class Letterbox(nn.Module):
    """Resize the photograph, its proportions kept, to fit into the frame (height, width), and centre it on white."""

    def __init__(self, frame: tuple[int, int]):
        super().__init__()
        self.frame = frame

    def forward(self, image: Image.Image) -> Image.Image:
        left, top, right, bottom = letterbox_box(image.size, self.frame)
        resized = _resize(image, right - left, bottom - top)
        if resized.size == self.frame[::-1]:
            return resized
        canvas = Image.new("RGB", self.frame[::-1], "white")
        canvas.paste(resized, (left, top))
        return canvas


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """As Pillow's, up to one level of 255, in a quarter of its time."""
    pixels = functional.pil_to_tensor(image)
    resized = functional.resize(pixels, [height, width], v2.InterpolationMode.BICUBIC, antialias=True)
    return Image.fromarray(resized.permute(1, 2, 0).numpy())


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """`image` after one trip through JPEG compression."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
