"""Class activation maps (Grad-CAM and its kin), on one stage of the backbone or the mean of several, and overlays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
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

OPACITY = 0.7  # of the color at the maximum of the map; at its minimum the photograph stays gray
GRAY_RANGE = (90, 225)  # what black and white of the photograph become, so that all color comes from the map
# Perceptually uniform, and readable by the color-blind. RGB.
PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]


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
    targets: Sequence[Target] | Callable[[torch.Tensor], Sequence[Target]],
    method: str = METHOD,
    layers: Sequence[int] = LAYERS,
) -> Explained:
    """Maps of the evidence for each target in the image (1, 3, H, W); a function is given the pooled features (1, C).

    `layers` are indices of `model.backbone.stages`, as Python counts. The maps of several layers are averaged, each
    scaled to [0, 1]; the result has the size of the first. The backbone runs once for all targets up to the layers,
    and from each of them on for every target. No parameter of `model` may require gradients: threads share them.
    ValueError for an unknown method or layer.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    layers = resolve_layers(model, layers)
    outputs = model.backbone.outputs(image, layers)
    pooled = model.pool(model.backbone.as_map(model.backbone.between(layers[-1])(outputs[-1])))
    targets = targets(pooled) if callable(targets) else targets
    if not targets:
        return Explained(pooled, np.empty((0, 0, 0), np.float32))
    import pytorch_grad_cam  # takes longer to import than the first overlays to draw
    from pytorch_grad_cam.utils.image import scale_cam_image

    maps = []
    for layer, output in zip(layers, outputs, strict=True):
        rest = _Rest(model, layer, output.repeat_interleave(len(targets), dim=0))
        cam = getattr(pytorch_grad_cam, METHODS[method])(rest, [rest.stage])
        with torch.enable_grad():
            maps.append(cam(rest.feature_map, [rest.logit_of(target) for target in targets]))
        cam.activations_and_grads.release()
    first = maps[0].shape[2:0:-1]
    scaled = [scale_cam_image(of_layer, first) for of_layer in maps]
    return Explained(pooled, scale_cam_image(np.mean(scaled, axis=0)) if len(maps) > 1 else maps[0])


class _Rest(nn.Module):
    """The network after one stage: its map (B, C, h, w) → logits of all attributes and of is_fashion, side by side."""

    def __init__(self, model: MultiTaskClassifier, layer: int, output: torch.Tensor):
        super().__init__()
        self.stage, self.model = nn.Identity(), model
        self.rest, self.output = model.backbone.between(layer), output.detach()
        self.feature_map = model.backbone.as_map(self.output).requires_grad_()

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        backbone = self.model.backbone
        output = backbone.with_map(self.output, self.stage(feature_map))
        pooled = self.model.pool(backbone.as_map(self.rest(output)))
        against = self.model.config.fashion_threshold - self.model.fashion_scores(pooled)[:, None]
        return torch.cat([*self.model.heads(pooled).values(), against, -against], dim=1)

    def logit_of(self, target: Target) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that takes a row of the output and returns the logit of the target's class."""
        attribute, index, rank = Target(*target)
        classes = {**self.model.config.num_classes, IS_FASHION: 2}
        names = list(classes)
        start = sum(classes[name] for name in names[: names.index(attribute)])
        logits = slice(start, start + classes[attribute])
        return lambda row: row[logits].topk(rank + 1).values[-1] if index is None else row[logits][index]


def backdrop(photograph: Image.Image) -> Image.Image:
    """The photograph in gray, of mode L; every overlay lies on it."""
    low, high = GRAY_RANGE
    return ImageOps.grayscale(photograph).point([low + v * (high - low) // 255 for v in range(256)])


def color_layer(values: Image.Image) -> Image.Image:
    """A gray image of map values → the palette's colors, of mode P; the alpha of a pixel is its value.

    Laid over `backdrop` with an opacity, it gives what `overlay` draws.
    """
    colors = values.copy()
    colors.putpalette(PALETTE.tobytes())
    colors.info["transparency"] = bytes(range(256))
    return colors


def overlay(ground: Image.Image, values: Image.Image, opacity: float = OPACITY) -> Image.Image:
    """Blend `values`, a gray image, over `ground`, the photograph's `backdrop`, in the palette's colors.

    The alpha of each pixel is its value times `opacity`. ValueError for an opacity outside [0, 1].
    """
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must be from 0 to 1; it is {opacity!r}")
    heat, alpha = np.asarray(values), np.rint(np.arange(256) * opacity)
    colors = np.rint(PALETTE * alpha[:, None] / 255).astype(np.uint8)[:, None]  # (256, 1, 3)
    ground_left = cv2.LUT(heat, (255 - alpha).astype(np.uint8))
    dimmed = cv2.cvtColor(cv2.multiply(np.asarray(ground), ground_left, scale=1 / 255), cv2.COLOR_GRAY2RGB)
    return Image.fromarray(cv2.add(cv2.applyColorMap(heat, colors), dimmed))
