"""Photograph → network input and back. Serving and training resize and normalise nowhere else."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

INTERPOLATIONS = ("bicubic", "bilinear")
CROP_MARGIN = 0.2  # of a box's width and height, by which the crop that is predicted or measured is larger on each side


@dataclass(frozen=True)
class Preprocessing:
    """Letterboxes an RGB photograph of any size to the input size and normalises it: → (3, H, W) float32."""

    image_size: tuple[int, int]  # height, width of the input
    mean: tuple[float, float, float]  # of pixels scaled to [0, 1]
    std: tuple[float, float, float]
    interpolation: str = INTERPOLATIONS[0]

    def __call__(self, photograph: Image.Image) -> torch.Tensor:
        return self.normalise(functional.pil_to_tensor(self.letterbox(photograph)))

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where a photograph of `size` (width, height) lies in the input: left, top, right, bottom."""
        frame_height, frame_width = self.image_size
        scale = min(frame_width / size[0], frame_height / size[1])
        width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        left, top = (frame_width - width) // 2, (frame_height - height) // 2
        return left, top, left + width, top + height

    def letterbox(self, photograph: Image.Image) -> Image.Image:
        """The photograph resized, its proportions kept, to fit into the input size, and centered on white."""
        left, top, right, bottom = self.box(photograph.size)
        (height, width), size = self.image_size, [bottom - top, right - left]
        # The result is Pillow's, up to one level of 255, in a quarter of the time.
        method = v2.InterpolationMode(self.interpolation)
        resized = functional.resize(functional.pil_to_tensor(photograph), size, method, antialias=True)
        padding = [left, top, width - right, height - bottom]
        return functional.to_pil_image(functional.pad(resized, padding, fill=255))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(…, 3, H, W) uint8, or float32 in [0, 1], → float32, as the backbone's weights expect."""
        return functional.normalize(
            functional.to_dtype(pixels, torch.float32, scale=True), list(self.mean), list(self.std)
        )

    def map_on_photograph(self, values: np.ndarray, size: tuple[int, int]) -> Image.Image:
        """The inverse: a map (h, w) in [0, 1] of the input → a gray image of the photograph's `size` (width, height).

        The part of the map that belongs to the letterbox's border is cropped.
        """
        (height, width), (rows, columns) = self.image_size, values.shape
        left, top, right, bottom = self.box(size)
        box = (left * columns / width, top * rows / height, right * columns / width, bottom * rows / height)
        gray = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        return gray.resize(size, Image.Resampling.BICUBIC, box=box)

    def boxes_on_photograph(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (N, 4) left, top, right, bottom in the input → in a photograph of `size` (width, height), int."""
        left, top, right, bottom = self.box(size)
        scales = np.tile([size[0] / (right - left), size[1] / (bottom - top)], 2)
        return np.rint((boxes - [left, top, left, top]) * scales).clip(0, np.tile(size, 2)).astype(int)
