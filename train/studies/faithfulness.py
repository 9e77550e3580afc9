"""Faithfulness of a saliency map: how the prediction changes when pixels are changed in the order of the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy import ndimage
from torch import nn
from torchvision.transforms import v2

from fashion_model.models.multitask import MultiTaskClassifier

STEPS = 10  # of deletion and insertion
PERCENTILES = [25, 50, 75]  # of the pixels that ROAD removes
BLUR = 1 / 12  # of the shorter side: standard deviation of what insertion begins with
METRICS = ("deletion", "insertion", "ROAD", "on the product")
BETTER = np.array([-1, 1, 1, 1])  # the direction in which each of them is


class FromPixels(nn.Module):
    """Letterboxed photographs (B, 3, H, W) in [0, 1] → the probabilities (B, classes) of one attribute."""

    def __init__(self, model: MultiTaskClassifier, attribute: str):
        super().__init__()
        self.model, self.attribute = model, attribute
        self.normalise = v2.Normalize(list(model.config.mean), list(model.config.std))

    def forward(self, photographs: torch.Tensor) -> torch.Tensor:
        return self.model.calibrate(self.model(self.normalise(photographs)))[self.attribute]


@dataclass(frozen=True)
class Question:
    """A photograph, an attribute, and the predicted class."""

    model: FromPixels
    photograph: torch.Tensor  # (3, H, W) in [0, 1], letterboxed
    mask: np.ndarray  # (H, W) bool, True on the product
    answer: int  # the predicted class

    @torch.inference_mode()
    def probabilities(self, photographs: torch.Tensor) -> np.ndarray:
        """Of the answer, for photographs (B, 3, H, W): (B,)."""
        return self.model(photographs)[:, self.answer].numpy()


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each pixel of `values` (H, W), from 0 for the least; ties, such as areas of 0, in random order."""
    order = np.lexsort((np.random.default_rng(0).random(values.size), values.ravel()))
    found = np.empty(values.size, dtype=np.int64)
    found[order] = np.arange(values.size)
    return found.reshape(values.shape)


def changed(photograph: torch.Tensor, other: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """(STEPS + 1, 3, H, W): `photograph` (3, H, W), with its highest tenth as in `other`, two tenths, … all."""
    left = torch.linspace(places.size, 0, STEPS + 1)  # pixels still of `photograph`
    return torch.where(torch.from_numpy(places) >= left[:, None, None, None], other, photograph)


def measure(question: Question, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name → (METRICS,); `maps` (H, W) in [0, 1]."""
    photograph, places = question.photograph, {name: ranks(values) for name, values in maps.items()}
    white = torch.ones_like(photograph)
    blur = BLUR * min(photograph.shape[1:])
    blurred = torch.from_numpy(ndimage.gaussian_filter(photograph.numpy(), (0, blur, blur), mode="nearest"))
    targets = [ClassifierOutputTarget(question.answer)] * len(maps)
    torch.manual_seed(0)  # ROAD adds noise
    shares = np.stack([p / p.size for p in places.values()])  # ROAD takes percentiles of the values
    road = ROADCombined(PERCENTILES)(photograph.expand(len(maps), -1, -1, -1), shares, targets, question.model)
    found = {}
    for (name, values), of_road in zip(maps.items(), road, strict=True):
        curves = [changed(photograph, white, places[name]), changed(blurred, photograph, places[name])]
        deletion, insertion = question.probabilities(torch.cat(curves)).reshape(2, -1).mean(axis=1)
        on_product = values[question.mask].sum() / max(values.sum(), 1e-9)
        found[name] = np.array([deletion, insertion, of_road, on_product])
    return found
