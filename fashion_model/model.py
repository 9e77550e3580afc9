"""ModelConfig and MultiTaskClassifier: a backbone that all attributes share, pooled features, heads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fashion_model.attributes import NAMES
from fashion_model.backbones import backbone_named
from fashion_model.heads import LINEAR, build_heads, check_heads
from fashion_model.vision_transformer import as_map

FORMAT_VERSION = 5
LARGEST_SIDE = 2048  # pixels
MOST_EXPERTS = 64
TEMPERATURES = (0.01, 100.0)  # the least and the largest


@dataclass(frozen=True)
class ModelConfig:
    """What it takes to rebuild the network and its preprocessing; saved as config.json."""

    num_classes: Mapping[str, int]  # attribute name → classes
    backbone: str
    mean: tuple[float, float, float]  # of pixels scaled to [0, 1]
    std: tuple[float, float, float]
    heads: str = LINEAR  # or moe
    experts: int = 0  # of the mixture, shared by the attributes
    image_size: tuple[int, int] = (192, 192)  # height, width of the network's input; photographs are letterboxed
    dropout: float = 0.2
    mirrored: bool = False  # whether the mirrored photograph is looked at too, and both feature maps are averaged
    # What the logits of each attribute are divided by (Guo et al., ICML 2017); 1 changes nothing.
    temperatures: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 1.0))
    fashion_threshold: float = 0.0  # of the fashion score; a photograph below it shows no fashion product
    format_version: int = FORMAT_VERSION

    @classmethod
    def for_backbone(cls, backbone: str, num_classes: Mapping[str, int], **others: Any) -> ModelConfig:
        """A configuration with the normalisation that the weights of `backbone` expect."""
        known = backbone_named(backbone)
        return cls(num_classes=dict(num_classes), backbone=backbone, mean=known.mean, std=known.std, **others)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ModelConfig:
        """ValueError for an unknown version or key, a missing key, or a value that cannot be right."""
        version = document.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise ValueError(f"has format version {version!r}; this code reads {FORMAT_VERSION}")
        keys = {f.name for f in dataclasses.fields(cls)}
        if set(document) != keys:
            raise ValueError(f"lacks {sorted(keys - set(document))} and has unknown {sorted(set(document) - keys)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
        return cls(**values)

    def __post_init__(self) -> None:
        patch = backbone_named(self.backbone).patch
        if not _number(self.experts, int) or not 0 <= self.experts <= MOST_EXPERTS:
            raise ValueError(f"experts must be a whole number from 0 to {MOST_EXPERTS}; it is {self.experts!r}")
        check_heads(self.heads, self.experts)
        if not _number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; it is {self.dropout!r}")
        if type(self.mirrored) is not bool:
            raise ValueError(f"mirrored must be true or false; it is {self.mirrored!r}")
        for key, kind, (least, largest) in (
            ("num_classes", int, (1, math.inf)),
            ("temperatures", float, TEMPERATURES),
        ):
            value = getattr(self, key)
            fits = isinstance(value, Mapping) and set(value) == set(NAMES)
            if not fits or not all(_number(v, kind) and least <= v <= largest for v in value.values()):
                wanted = f"a number from {least} to {largest} for each of {', '.join(NAMES)}"
                raise ValueError(f"{key} must have {wanted}; it is {value!r}")
        if not _number(self.fashion_threshold):
            raise ValueError(f"fashion_threshold must be a finite number; it is {self.fashion_threshold!r}")
        for key, length, kind, largest in (
            ("image_size", 2, int, LARGEST_SIDE),
            ("mean", 3, float, 1),
            ("std", 3, float, 1),
        ):
            value = getattr(self, key)
            fits = isinstance(value, tuple) and len(value) == length
            if not fits or not all(_number(v, kind) and 0 < v <= largest for v in value):
                raise ValueError(f"{key} must be {length} numbers above 0, at most {largest}; it is {value!r}")
        if any(side % patch for side in self.image_size):
            raise ValueError(f"image_size {self.image_size!r} must be multiples of {patch} for {self.backbone}")


def _number(value: object, kind: type = float) -> bool:
    """A finite number, and whole if `kind` is int."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return math.isfinite(value)


class MultiTaskClassifier(nn.Module):
    """Images (B, 3, H, W) → {attribute name: logits (B, classes)}. Built with random weights."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        backbone = backbone_named(config.backbone)
        self.backbone = backbone.build(config.image_size)
        self.heads = build_heads(config.heads, backbone.channels, config.num_classes, config.dropout, config.experts)
        self.fashion = nn.Linear(backbone.channels, 1)
        for parameter in self.fashion.parameters():
            nn.init.zeros_(parameter)  # until trained, everything counts as fashion

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → feature map (B, C, h, w): the part all attributes share."""
        return self.joined(self.backbone(self.views(images)))

    @property
    def view_count(self) -> int:
        """How many views of each photograph the backbone looks at: while it is trained one, mirrored at random."""
        return 2 if self.config.mirrored and not self.training else 1

    def views(self, images: torch.Tensor) -> torch.Tensor:
        """Photographs (B, 3, H, W) → their views (B, 3, H, W), or (2B, 3, H, W), the mirrored ones last."""
        return images if self.view_count == 1 else torch.cat([images, images.flip(3)])

    def joined(self, feature_maps: torch.Tensor) -> torch.Tensor:
        """Of the views, (B, C, h, w) or (2B, C, h, w) → (B, C, h, w)."""
        if self.view_count == 1:
            return feature_maps
        plain, mirrored = feature_maps.chunk(2)
        return (plain + mirrored.flip(3)) / 2

    def as_map(self, activations: torch.Tensor) -> torch.Tensor:
        """What a stage of the backbone gives → (B, C, h, w); tokens (B, 1 + h·w, C) are put in their places."""
        if activations.ndim == 4:
            return activations
        patch = backbone_named(self.config.backbone).patch
        return as_map(activations, (self.config.image_size[0] // patch, self.config.image_size[1] // patch))

    def pool(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) → (B, C)."""
        return feature_map.mean(dim=(2, 3))

    def classify(self, feature_map: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, C, h, w) → logits (B, classes) of each attribute."""
        return self.heads(self.pool(feature_map))

    def fashion_scores(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, C) → (B,), log odds that it is a fashion product; below `config.fashion_threshold` it counts as none."""
        return self.fashion(pooled)[:, 0]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.classify(self.features(images))

    def calibrate(self, logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Logits (B, classes) of each attribute → probabilities of the same shape, at least in float32."""
        return {
            name: torch.softmax(x.to(torch.promote_types(x.dtype, torch.float32)) / self.config.temperatures[name], 1)
            for name, x in logits.items()
        }
