"""Grad-CAM (Selvaraju et al., ICCV 2017) on the last feature map, and the overlay that shows it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import letterbox_box

OPACITY = 0.7  # of the hottest place; the coldest stays as photographed
PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1].tobytes()  # RGB


class _AfterTheBackbone(nn.Module):
    """Feature map → logits of all attributes side by side, (B, sum of classes).

    Grad-CAM hooks `feature_map`, which is new in every call: threads share the heads but no hook.
    """

    def __init__(self, model: MultiTaskClassifier):
        super().__init__()
        self.feature_map = nn.Identity()
        self.heads = model.heads
        self.classify = model.classify

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(self.classify(self.feature_map(feature_map)).values()), dim=1)


def grad_cam(model: MultiTaskClassifier, feature_map: torch.Tensor, targets: Sequence[tuple[str, int]]) -> np.ndarray:
    """Where in the feature map the evidence for each target lies.

    feature_map (B, C, h, w), one row a target, which is an attribute and a class index; repeat the row of a photograph
    to ask for several. The backbone is not run again. Returns (B, h, w) float32 in [0, 1]. The parameters of `model`
    must not require gradients, or threads would share them.
    """
    offsets, offset = {}, 0
    for name, classes in model.config.num_classes.items():
        offsets[name], offset = offset, offset + classes
    outputs = [ClassifierOutputTarget(offsets[name] + index) for name, index in targets]
    tail = _AfterTheBackbone(model)
    cam = GradCAM(tail, [tail.feature_map])
    try:
        with torch.enable_grad():
            return cam(feature_map.detach().clone().requires_grad_(True), outputs)
    finally:
        cam.activations_and_grads.release()


def heat_image(heat: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> Image.Image:
    """Heat (h, w) in [0, 1] over the letterboxed `frame` (height, width) → gray image over the photograph.

    `size` is the photograph's (width, height); what lies on the white border of the frame is cut away.
    """
    height, width = heat.shape
    left, top, right, bottom = letterbox_box(size, frame)
    box = (left * width / frame[1], top * height / frame[0], right * width / frame[1], bottom * height / frame[0])
    gray = Image.fromarray(np.rint(heat * 255).astype(np.uint8))
    return gray.resize(size, Image.Resampling.BICUBIC, box=box)


def overlay(photograph: Image.Image, heat: Image.Image) -> Image.Image:
    """Lay `heat` (gray, the size of the photograph) over it in colours, the more opaque the hotter."""
    colors = heat.copy()
    colors.putpalette(PALETTE)
    return Image.composite(colors.convert("RGB"), photograph, heat.point([round(v * OPACITY) for v in range(256)]))
