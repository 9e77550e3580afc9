"""The maps of where a network looked that `train explanations` compares."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from fashion_model.explain import METHODS, ROLLOUT, activation_maps
from fashion_model.model import MultiTaskClassifier
from fashion_model.rollout import attention_rollout, has_attention

REFERENCE = "gradcam, last stage"  # what all others are compared with: Grad-CAM as it was published
BLOB = 0.25  # standard deviation of the blob in the centre, in sides of the picture


class CandidateMaps:
    """What is compared, for one model: every method on the last stage, on an earlier one, and on both.

    The earlier one is the last that has a finer map, or the middle one if none has. A transformer has attention rollout
    besides. The floors are random maps as coarse as those stages, and a blob in the centre.
    """

    def __init__(self, model: MultiTaskClassifier):
        self.model = model
        with torch.no_grad():
            x, grids = torch.zeros(1, 3, *model.config.image_size), []
            for stage in model.backbone:
                x = stage(x)
                grids.append(tuple(model.as_map(x).shape[2:]))
        finer = [i for i, grid in enumerate(grids) if grid[0] > grids[-1][0]]
        earlier = finer[-1] if finer else len(grids) // 2
        stages = {"last stage": [len(grids) - 1], f"stage {earlier}": [earlier], "both": [earlier, len(grids) - 1]}
        self.candidates = {f"{m}, {title}": (m, layers) for title, layers in stages.items() for m in METHODS}
        self.has_attention = has_attention(model)
        self.random_grids = list(dict.fromkeys((grids[-1], grids[earlier])))

    def of(
        self, images: torch.Tensor, target: tuple[str, int], shape: tuple[int, int], seed: int
    ) -> dict[str, np.ndarray]:
        """Name → map of size `shape` (h, w) in [0, 1]. images (1, 3, H, W); target: an attribute and a class index."""
        trunks: dict[int, torch.Tensor] = {}
        found = {}
        for name, (method, layers) in self.candidates.items():
            if layers[0] not in trunks:
                with torch.no_grad():
                    trunks[layers[0]] = self.model.backbone[: layers[0] + 1](self.model.views(images))
            (found[name],) = activation_maps(self.model, trunks[layers[0]], [target], method=method, layers=layers)
        if self.has_attention:
            found[ROLLOUT] = attention_rollout(self.model, images)[1]
        generator = np.random.default_rng(seed)
        for grid in self.random_grids:
            found[f"random map, {grid[0]}×{grid[1]}"] = generator.random(grid).astype(np.float32)
        return {name: _enlarged(heat, shape) for name, heat in found.items()} | {"blob in the centre": _blob(shape)}


def _enlarged(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def _blob(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = ((np.arange(side) - side / 2) / side for side in shape)
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * BLOB**2)).astype(np.float32)
