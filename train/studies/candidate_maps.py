"""The maps that `train saliency` compares."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from fashion_model.explain.cam import METHODS, explain
from fashion_model.models.multitask import MultiTaskClassifier

REFERENCE = "gradcam, last stage"  # all others are compared with it
SAME_ON_LAST_STAGE = "hirescam"  # equals Grad-CAM there
BLOB = 0.25  # standard deviation of the Gaussian in the center, as a share of the image's sides


class CandidateMaps:
    """Every method on the last stage, on an earlier one, and on both; and as baselines random maps and a Gaussian.

    The earlier stage is the last with a finer map, or the middle one if none is finer.
    """

    def __init__(self, model: MultiTaskClassifier):
        self.model = model
        last = len(model.backbone.stages) - 1
        with torch.no_grad():
            outputs = model.backbone.outputs(torch.zeros(1, 3, *model.config.image_size), range(last + 1))
        grids = [tuple(model.backbone.as_map(output).shape[-2:]) for output in outputs]
        finer = [index for index in range(last) if grids[index][0] > grids[last][0]]
        earlier = finer[-1] if finer else (last + 1) // 2
        layers = {"last stage": [last], f"stage {earlier}": [earlier], "both": [earlier, last]}
        self.candidates = {
            f"{method}, {title}": (method, chosen)
            for title, chosen in layers.items()
            for method in METHODS
            if not (method == SAME_ON_LAST_STAGE and chosen == [last])
        }
        self.random_grids = list(dict.fromkeys((grids[last], grids[earlier])))

    def of(
        self, images: torch.Tensor, target: tuple[str, int], shape: tuple[int, int], seed: int
    ) -> dict[str, np.ndarray]:
        """Name → map (h, w) of `shape` in [0, 1]. images (1, 3, H, W); target: attribute and class index."""
        found = {
            name: explain(self.model, images, [target], method, layers).maps[0]
            for name, (method, layers) in self.candidates.items()
        }
        random = np.random.default_rng(seed)
        for grid in self.random_grids:
            found[f"random map, {grid[0]}×{grid[1]}"] = random.random(grid).astype(np.float32)
        return {name: _enlarged(values, shape) for name, values in found.items()} | {"center Gaussian": _blob(shape)}


def _enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def _blob(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = ((np.arange(side) - side / 2) / side for side in shape)
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * BLOB**2)).astype(np.float32)
