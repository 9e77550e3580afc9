"""Class activation maps on one stage of the backbone or several, and the overlay that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import letterbox_box

# Selvaraju et al., ICCV 2017; Chattopadhay et al., WACV 2018; Jiang et al., TIP 2021; Draelos and Carin, 2020
# (arXiv:2011.08891).
METHODS: dict[str, Callable[..., BaseCAM]] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
}
ROLLOUT = "rollout"  # fashion_model.rollout, of transformers; the same for every class
# Chosen by `train explanations`, see train/README.md.
METHOD = "gradcam++"  # of a transformer: ROLLOUT
LAYERS = (-1,)  # stages of the backbone, as Python counts: its last feature map
OPACITY = 0.7  # of the hottest place; the coldest stays gray
GRAYS = (90, 225)  # what black and white of the photograph become beneath the heat
PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1].tobytes()  # RGB


def resolve_layers(model: MultiTaskClassifier, layers: Sequence[int]) -> list[int]:
    """Stages from the front, each once, in order. ValueError if there is none, or one that the backbone lacks."""
    stages = len(model.backbone)
    given = layers if isinstance(layers, Sequence) else ()
    if not given or not all(type(layer) is int and -stages <= layer < stages for layer in given):
        raise ValueError(f"layers must be whole numbers from {-stages} to {stages - 1}, at least one, not {layers!r}")
    return sorted({layer % stages for layer in layers})


class _AfterTheTrunk(nn.Module):
    """What the first of `layers` gives → logits of all attributes side by side, (B, sum of classes).

    Maps are taken at `probes`, one a layer, which are new in every call: threads share the stages but no hook.
    """

    def __init__(self, model: MultiTaskClassifier, layers: Sequence[int]):
        super().__init__()
        self.probes = nn.ModuleList(nn.Identity() for _ in layers)
        probe_after = dict(zip(layers, self.probes, strict=True))
        parts = [probe_after[layers[0]]]
        for number in range(layers[0] + 1, len(model.backbone)):
            parts += [model.backbone[number], *filter(None, [probe_after.get(number)])]
        self.parts = nn.Sequential(*parts)
        self.heads = model.heads  # the package asks a parameter of this module for its device
        self.classify, self.joined = model.classify, model.joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(self.classify(self.joined(self.parts(x))).values()), dim=1)


def activation_maps(
    model: MultiTaskClassifier,
    trunk: torch.Tensor,
    targets: Sequence[tuple[str, int]],
    method: str,
    layers: Sequence[int],
) -> np.ndarray:
    """Where in the photograph the evidence for each target lies.

    trunk: what the first of `layers` gives for `model.views`, (B, C, h, w) or the tokens of a transformer, or of two
    views (2B, …). One photograph a target, which is an attribute and a class index; repeat its rows to ask for several.
    What comes before is not run again. Several layers are averaged, each scaled to [0, 1], and so are two views, scaled
    together. Returns (B, h, w) float32 in [0, 1], of the first layer's size.
    The parameters of `model` must not require gradients, or threads would share them. ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}, and for transformers {ROLLOUT}")
    offsets, offset = {}, 0
    for name, classes in model.config.num_classes.items():
        offsets[name], offset = offset, offset + classes
    outputs = [ClassifierOutputTarget(offsets[name] + index) for name, index in targets]
    tail = _AfterTheTrunk(model, resolve_layers(model, layers))

    def side_by_side(activations: torch.Tensor) -> torch.Tensor:
        """The views of each photograph as one map, so that the package weighs and scales them together."""
        return torch.cat(model.as_map(activations).chunk(model.view_count), dim=3)

    cam = METHODS[method](tail, list(tail.probes), reshape_transform=side_by_side)
    height, width = side_by_side(trunk).shape[-2:]
    cam.get_target_width_height = lambda _: (width, height)  # it would take them from tokens, which have none
    try:
        with torch.enable_grad():
            maps = cam(trunk.detach().clone().requires_grad_(True), outputs)
        return joined_maps(np.split(maps, model.view_count, axis=2))
    finally:
        cam.activations_and_grads.release()


def joined_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """One or two maps (…, h, w) in [0, 1], the second of the mirrored view → (…, h, w), scaled to [0, 1] again."""
    if len(maps) == 1:
        return maps[0]
    mean = (maps[0] + maps[1][..., ::-1]) / 2
    low, high = (limit(mean, axis=(-2, -1), keepdims=True) for limit in (np.min, np.max))
    return (mean - low) / np.maximum(high - low, 1e-9)


def heat_image(heat: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> Image.Image:
    """Heat (h, w) in [0, 1] over the letterboxed `frame` (height, width) → gray image over the photograph.

    `size` is the photograph's (width, height); what lies on the white border of the frame is cut away.
    """
    height, width = heat.shape
    left, top, right, bottom = letterbox_box(size, frame)
    box = (left * width / frame[1], top * height / frame[0], right * width / frame[1], bottom * height / frame[0])
    gray = Image.fromarray(np.rint(heat * 255).astype(np.uint8))
    return gray.resize(size, Image.Resampling.BICUBIC, box=box)


def overlay(photograph: Image.Image, heat: Image.Image, opacity: float = OPACITY) -> Image.Image:
    """Lay `heat` (gray, the size of the photograph) over it in colors, the more opaque the hotter, up to `opacity`.

    Beneath it the photograph is gray and neither black nor white: all color is heat, on any product. ValueError for
    an opacity outside [0, 1].
    """
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must be from 0 to 1; it is {opacity!r}")
    colors = heat.copy()
    colors.putpalette(PALETTE)
    gray = ImageOps.grayscale(photograph).point([GRAYS[0] + v * (GRAYS[1] - GRAYS[0]) // 255 for v in range(256)])
    return Image.composite(
        colors.convert("RGB"), gray.convert("RGB"), heat.point([round(v * opacity) for v in range(256)])
    )
