"""Class activation maps (Grad-CAM and its kin), on one stage of the backbone or the mean of several, and overlays."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps

from fashion_model.attributes import IS_FASHION
from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.preprocessing import CROP_MARGIN

# Selvaraju et al., ICCV 2017; Chattopadhay et al., WACV 2018; Jiang et al., TIP 2021; Draelos and Carin, 2020
# (arXiv:2011.08891).
METHODS = {  # to the names of the classes of pytorch_grad_cam
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
}


def difference(logits: torch.Tensor, index: int) -> torch.Tensor:
    """How far the logit of a class is above the best other one."""
    others = torch.cat([logits[:index], logits[index + 1 :]])
    return logits[index] - others.max() if len(others) else logits[index]


SCORES: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {  # of a class, whose gradients maps are made of
    "logit": lambda logits, index: logits[index],
    "log probability": lambda logits, index: logits.log_softmax(0)[index],
    "difference": difference,
}
# The defaults, chosen with `train saliency`. The last stage is the feature map.
METHOD, LAYERS, SCORE = "hirescam", (-2, -1), "difference"
SMOOTHING = 0.7  # standard deviation in cells of the mean of several stages, the first of which is noisy
EPSILON = 1e-12

OPACITY = 0.7  # of the color at the maximum of the map; at its minimum the photograph stays gray
GRAY_RANGE = (90, 225)  # what black and white of the photograph become, so that all color comes from the map
# Perceptually uniform, and readable by the color-blind. RGB.
PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]


class Target(NamedTuple):
    attribute: str  # or is_fashion, with the classes no and yes
    class_index: int | None = None  # None for the one with the `rank`-th highest logit
    rank: int = 0  # 0 is the predicted class


class Explained(NamedTuple):
    pooled: torch.Tensor  # (1, C) features
    maps: np.ndarray  # (targets, h, w) float32 in [0, 1]


def resolve_layers(model: MultiTaskClassifier, layers: Sequence[int]) -> list[int]:
    """Indices of stages, in order and without repetition. ValueError if there are none, or for a stage out of range."""
    stages = len(model.backbone.stages)
    given = tuple(layers) if isinstance(layers, Sequence) else ()
    if given == LAYERS:
        given = LAYERS[-stages:]  # of a backbone with one stage
    if not given or not all(type(layer) is int and -stages <= layer < stages for layer in given):
        raise ValueError(f"layers must be whole numbers from {-stages} to {stages - 1}, at least one, not {layers!r}")
    return sorted({layer % stages for layer in given})


def explain(
    model: MultiTaskClassifier,
    image: torch.Tensor,
    targets: Sequence[Target] | Callable[[torch.Tensor], Sequence[Target]],
    method: str = METHOD,
    layers: Sequence[int] = LAYERS,
    score: str = SCORE,
) -> Explained:
    """Maps of the evidence for each target in the image (1, 3, H, W); a function is given the pooled features (1, C).

    `layers` are indices of `model.backbone.stages`, as Python counts. All maps of an image are on one scale,
    together with those of the predicted classes of all attributes: weak evidence stays weak. Maps of `is_fashion` have
    their own scale. Those of several layers are averaged in the size of the first, and smoothed. `score` is one of
    `SCORES`.
    The backbone runs once for all targets up to the layers, and from each of them on for every target. No parameter of
    `model` may require gradients: threads share them. ValueError for an unknown method or layer.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    layers = resolve_layers(model, layers)
    backbone = model.backbone
    outputs = backbone.outputs(image, layers)
    pooled = model.pool(backbone.as_map(backbone.between(layers[-1])(outputs[-1])))
    targets = targets(pooled) if callable(targets) else targets
    if not targets:
        return Explained(pooled, np.empty((0, 0, 0), np.float32))
    import pytorch_grad_cam  # takes longer to import than the first overlays to draw

    logits = logits_of(model, pooled)
    asked = [resolved(Target(*target), logits) for target in targets]
    everything = list(dict.fromkeys([*asked, *(resolved(Target(name), logits) for name in model.config.num_classes)]))
    cam = getattr(pytorch_grad_cam, METHODS[method])(model.fashion, [])  # weighs what it is given, and runs no network
    maps: list[np.ndarray] = []
    for layer, output in zip(layers, outputs, strict=True):
        feature_map = backbone.as_map(output.detach()).requires_grad_()
        with torch.enable_grad():
            rest = backbone.between(layer)(backbone.with_map(output.detach(), feature_map))
            logits = logits_of(model, model.pool(backbone.as_map(rest)))
            scores = [SCORES[score](logits[name][0], index) for name, index in everything]
            gradients = [torch.autograd.grad(each, feature_map, retain_graph=True)[0] for each in scores]
        activations = feature_map.detach().cpu().numpy().repeat(len(everything), axis=0)
        arrays = activations, torch.cat(gradients).cpu().numpy()
        evidence = np.maximum(cam.get_cam_image(feature_map, None, everything, *arrays, False), 0)
        size = (maps[0] if maps else evidence).shape[2:0:-1]
        maps.append(on_one_scale(np.stack([cv2.resize(each, size) for each in evidence]), everything))
    averaged = np.mean(maps, axis=0)
    if len(maps) > 1:
        averaged = np.stack([cv2.GaussianBlur(each, (0, 0), SMOOTHING) for each in averaged])
    scaled = on_one_scale(averaged, everything)
    return Explained(pooled, scaled[[everything.index(target) for target in asked]])


def logits_of(model: MultiTaskClassifier, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pooled features (B, C) → logits (B, classes) of each attribute and of is_fashion."""
    score = model.fashion_scores(pooled)[:, None] - model.config.fashion_threshold
    return {**model.heads(pooled), IS_FASHION: torch.cat([-score, score], dim=1)}


def resolved(target: Target, logits: Mapping[str, torch.Tensor]) -> tuple[str, int]:
    """The attribute, and the index of the class. `logits` are of one image."""
    if target.class_index is not None:
        return target.attribute, target.class_index
    order = logits[target.attribute][0].argsort(descending=True, stable=True)
    return target.attribute, int(order[target.rank])


def on_one_scale(maps: np.ndarray, targets: Sequence[tuple[str, int]]) -> np.ndarray:
    """(targets, h, w) ≥ 0 → float32 with the largest value 1, and 1 among those of is_fashion, where one is above 0."""
    of_fashion, scaled = np.array([name == IS_FASHION for name, _ in targets]), maps.astype(np.float32)
    for part in (of_fashion, ~of_fashion):
        scaled[part] /= max(scaled[part].max(initial=0), EPSILON)
    return scaled


def backdrop(photograph: Image.Image) -> Image.Image:
    """The photograph in gray, of mode L; every overlay lies on it."""
    low, high = GRAY_RANGE
    return ImageOps.grayscale(photograph).point([low + v * (high - low) // 255 for v in range(256)])


def faded(values: Image.Image, area: Sequence[int], size: tuple[int, int]) -> Image.Image:
    """The map of an area of a photograph, a gray image, without edges within the photograph: there it falls to 0.

    `area`: left, top, right, bottom, in a photograph of `size`.
    """
    margin = CROP_MARGIN / (1 + 2 * CROP_MARGIN)
    for axis, side in enumerate(values.size):
        kept = np.ones(side)
        near = np.minimum((np.arange(side) + 0.5) / side / margin, 1)
        kept *= near if area[axis] > 0 else 1
        kept *= near[::-1] if area[axis + 2] < size[axis] else 1
        strip = np.rint(255 * np.expand_dims(kept, axis)).astype(np.uint8)
        values = ImageChops.multiply(values, Image.fromarray(strip).resize(values.size, Image.Resampling.NEAREST))
    return values


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
