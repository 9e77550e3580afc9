"""How far a map of where the network looked can be believed: what its answer does when pixels are changed by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy import ndimage
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from fashion_model.model import MultiTaskClassifier

STEPS = 10  # of deletion and insertion
PERCENTILES = [25, 50, 75]  # of the pixels that ROAD removes
FIGURES = ("deletion", "insertion", "ROAD", "on the product")
BETTER = np.array([-1, 1, 1, 1])  # the direction in which each of them is


class FromThumbnail(nn.Module):
    """Thumbnails (B, 3, h, w) in [0, 1] → the probabilities (B, classes) of one attribute."""

    def __init__(self, model: MultiTaskClassifier, attribute: str):
        super().__init__()
        self.model, self.attribute = model, attribute
        self.enlarge = v2.Resize(model.config.image_size, InterpolationMode.BICUBIC)
        self.normalise = v2.Normalize(list(model.config.mean), list(model.config.std))

    def images(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """What the network sees, (B, 3, H, W)."""
        return self.normalise(self.enlarge(thumbnails).clamp(0, 1))

    def forward(self, thumbnails: torch.Tensor) -> torch.Tensor:
        return self.model.calibrate(self.model(self.images(thumbnails)))[self.attribute]


@dataclass(frozen=True)
class Question:
    """A photograph, the attribute it is asked for, and what is known about it."""

    model: FromThumbnail
    thumbnail: torch.Tensor  # (3, h, w) in [0, 1]
    mask: np.ndarray  # (h, w) bool, True on the product
    answer: int  # the predicted class

    @torch.inference_mode()
    def probabilities(self, thumbnails: torch.Tensor) -> np.ndarray:
        """Of the answer, for thumbnails (B, 3, h, w): (B,)."""
        return self.model(thumbnails)[:, self.answer].numpy()


def ranks(heat: np.ndarray) -> np.ndarray:
    """The places of the pixels of `heat` (h, w) from the coldest, 0, to the hottest; equal ones in random order.

    Large parts of a map are exactly 0, and in the order of rows they would vanish from the top.
    """
    order = np.lexsort((np.random.default_rng(0).random(heat.size), heat.ravel()))
    found = np.empty(heat.size, dtype=np.int64)
    found[order] = np.arange(heat.size)
    return found.reshape(heat.shape)


def changed(thumbnail: torch.Tensor, other: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """(STEPS + 1, 3, h, w): `thumbnail` (3, h, w), its hottest tenth as in `other`, its hottest two tenths, … all."""
    left = torch.linspace(places.size, 0, STEPS + 1)  # pixels that are still of `thumbnail`
    return torch.where(torch.from_numpy(places) >= left[:, None, None, None], other, thumbnail)


def measure(question: Question, heats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name → (FIGURES,)."""
    thumbnail, places = question.thumbnail, {name: ranks(heat) for name, heat in heats.items()}
    white = torch.ones_like(thumbnail)
    blurred = torch.from_numpy(ndimage.gaussian_filter(thumbnail.numpy(), (0, 5, 5), mode="nearest"))
    targets = [ClassifierOutputTarget(question.answer)] * len(heats)
    torch.manual_seed(0)  # ROAD adds noise
    shares = np.stack([p / p.size for p in places.values()])  # ROAD wants its percentiles to be exact
    road = ROADCombined(PERCENTILES)(thumbnail.expand(len(heats), -1, -1, -1), shares, targets, question.model)
    found = {}
    for (name, heat), of_road in zip(heats.items(), road, strict=True):
        curves = [changed(thumbnail, white, places[name]), changed(blurred, thumbnail, places[name])]
        deletion, insertion = question.probabilities(torch.cat(curves)).reshape(2, -1).mean(axis=1)
        on_product = heat[question.mask].sum() / max(heat.sum(), 1e-9)
        found[name] = np.array([deletion, insertion, of_road, on_product])
    return found
