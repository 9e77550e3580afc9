"""ONNX Runtime in place of PyTorch for the backbone: the same feature map in less time on a CPU."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fashion_model.models.backbones import Backbone
from fashion_model.models.folding import same_outputs

PACKAGES = ("onnx", "onnxruntime")
THREADS = torch.get_num_threads()  # what OMP_NUM_THREADS says, or one a core


def onnx_engine(backbone: Backbone, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What `backbone.features` computes for images (B, 3, H, W) in float32, without gradients.

    None if the packages are not installed, or the network cannot be exported or has other outputs for `example`.
    """
    exported = export_onnx(backbone, example[:1]) if all(map(importlib.util.find_spec, PACKAGES)) else None
    if exported is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # photographs are decoded meanwhile
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])

    def run(images: torch.Tensor) -> torch.Tensor:
        # Copied by NumPy: PyTorch's threads would go on spinning for a while, and the engine needs the cores.
        array = np.ascontiguousarray(images.detach().numpy())
        return torch.from_numpy(session.run(None, {"images": array})[0])

    return run if same_outputs(backbone.features, run, example) else None


def export_onnx(backbone: Backbone, image: torch.Tensor) -> bytes | None:
    """An ONNX model of `backbone.features` for any number of images; None if it has operators that ONNX lacks."""
    file: Any = io.BytesIO()
    batch = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's newer exporter takes 30 times as long, too long for every start
        try:
            torch.onnx.export(
                _Features(backbone).eval(),
                (image,),
                file,
                input_names=["images"],
                output_names=["features"],
                dynamic_axes={"images": batch, "features": batch},
                dynamo=False,
            )
        except (RuntimeError, TypeError, ValueError):
            return None
    return file.getvalue()


class _Features(nn.Module):
    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone.features(images)
