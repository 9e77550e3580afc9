"""Class activation maps, on one stage of the backbone or the mean of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from fashion_model.attributes import IS_FASHION
from fashion_model.models.multitask import MultiTaskClassifier

# Selvaraju et al., ICCV 2017; Chattopadhay et al., WACV 2018; Jiang et al., TIP 2021; Draelos and Carin, 2020
# (arXiv:2011.08891).
METHODS = {  # to the names of the classes of pytorch_grad_cam
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
}
METHOD, LAYERS = "gradcam++", (-1,)  # the defaults, chosen with `train saliency`; the last stage is the feature map


class Target(NamedTuple):
    attribute: str  # or is_fashion, with the classes no and yes
    class_index: int | None = None  # None for the one with the `rank`-th highest logit
    rank: int = 0  # 0 is the predicted class


@dataclass(frozen=True)
class Explained:
    pooled: torch.Tensor  # (1, C) features
    maps: np.ndarray  # (targets, h, w) float32 in [0, 1]


def resolve_layers(model: MultiTaskClassifier, layers: Sequence[int]) -> list[int]:
    """Indices of stages, in order and without repetition. ValueError if there are none, or for a stage out of range."""
    stages = len(model.backbone.stages)
    given = layers if isinstance(layers, Sequence) else ()
    if not given or not all(type(layer) is int and -stages <= layer < stages for layer in given):
        raise ValueError(f"layers must be whole numbers from {-stages} to {stages - 1}, at least one, not {layers!r}")
    return sorted({layer % stages for layer in layers})


def explain(
    model: MultiTaskClassifier,
    image: torch.Tensor,
    targets: Sequence[Target],
    method: str = METHOD,
    layers: Sequence[int] = LAYERS,
) -> Explained:
    """Where in the image (1, 3, H, W) the evidence for each target lies.

    `layers` are indices of `model.backbone.stages`, as Python counts. The maps of several layers are averaged, each
    scaled to [0, 1]; the result has the size of the first. The backbone runs once for all targets up to the first
    layer, and gradients are computed from there on. No parameter of `model` may require gradients: threads share them.
    ValueError for an unknown method or layer.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    tapped = _TappedClassifier(model, resolve_layers(model, layers), len(targets))
    if not targets:
        return Explained(model.features(image), np.empty((0, 0, 0), np.float32))
    import pytorch_grad_cam  # takes longer to import than the first overlays to draw

    cam = getattr(pytorch_grad_cam, METHODS[method])(
        tapped, list(tapped.probes), reshape_transform=model.backbone.as_map
    )
    cam.get_target_width_height = lambda _: tapped.map_size  # the package takes it from the input
    try:
        with torch.enable_grad():
            maps = cam(image, [tapped.select(*target) for target in targets])
    finally:
        cam.activations_and_grads.release()
    return Explained(tapped.pooled, maps)


class _TappedClassifier(nn.Module):
    """Image (1, 3, H, W) → logits of all attributes and of is_fashion side by side, (rows, sum of classes), equal rows.

    The package registers hooks on `probes`, one a layer, which are new in every call: threads share the backbone but no
    hook. At the first layer the activations are repeated, one row a target, so that each has its own gradients.
    """

    model: MultiTaskClassifier

    def __init__(self, model: MultiTaskClassifier, layers: Sequence[int], rows: int):
        super().__init__()
        self.__dict__["model"] = model  # no submodule: the package walks over all of them in each call
        self.heads, self.rows = model.heads, rows
        self.probes = nn.ModuleList(nn.Identity() for _ in layers)
        self.taps = dict(zip(layers, self.probes, strict=True)) | {layers[0]: self._first}
        self.map_size = (0, 0)  # width, height

    def _first(self, activations: torch.Tensor) -> torch.Tensor:
        height, width = self.model.backbone.as_map(activations).shape[-2:]
        self.map_size = (width, height)
        return self.probes[0](activations.detach().repeat_interleave(self.rows, dim=0).requires_grad_())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with self.model.backbone.tapped(self.taps):
            pooled = self.model.features(image)
        self.pooled = pooled[:1].detach()
        against = self.model.config.fashion_threshold - self.model.fashion_scores(pooled)[:, None]
        return torch.cat([*self.heads(pooled).values(), against, -against], dim=1)

    def select(self, attribute: str, index: int | None, rank: int = 0) -> Callable[[torch.Tensor], torch.Tensor]:
        """From a row of the output, the logit of a target's class."""
        classes = {**self.model.config.num_classes, IS_FASHION: 2}
        names = list(classes)
        start = sum(classes[name] for name in names[: names.index(attribute)])
        logits = slice(start, start + classes[attribute])
        return lambda row: row[logits].topk(rank + 1).values[-1] if index is None else row[logits][index]
