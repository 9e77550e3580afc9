"""ModelConfig: everything needed to rebuild the network and its preprocessing; saved as config.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any

from fashion_model.attributes import PRODUCT_TYPE, Attribute
from fashion_model.models.backbones import check_backbone, pretrained_settings
from fashion_model.preprocessing import INTERPOLATIONS, Preprocessing

FORMAT_VERSION = 1
LINEAR, MOE = "linear", "moe"  # kinds of heads
TEMPERATURES = (0.01, 100.0)  # minimum and maximum
LIMITS: dict[str, tuple[type, float, float]] = {  # type, minimum and maximum of the numbers of a setting
    "num_classes": (int, 1, math.inf),
    "temperatures": (float, *TEMPERATURES),
    "mean": (float, 0, 1),
    "std": (float, 1e-3, 1),
    "image_size": (int, 1, 2048),
    "experts": (int, 0, 64),
    "dropout": (float, 0, 0.99),
    "fashion_threshold": (float, -1e6, 1e6),
    "temperature_slope": (float, 0, 1),
}
STRIDES = (8, 16, 32)  # pixels of the input between neighbours in the maps that a finder's pyramid is built on
LEVELS = (*STRIDES, 2 * STRIDES[-1])  # of the pyramid
FINDER_LIMITS: dict[str, tuple[type, float, float]] = {
    "threshold": (float, 0, 1),
    "type_weight": (float, 0, 1),
    "side": (int, LEVELS[-1], 2048),
    "channels": (int, 32, 512),
    "convolutions": (int, 1, 8),
}
LENGTHS = {"mean": 3, "std": 3, "image_size": 2}  # numbers in a list
MAPPINGS = ("num_classes", "temperatures")  # a number for each attribute


@dataclass(frozen=True)
class FinderConfig:
    """The section `finder` of config.json. ValueError for an invalid value."""

    groups: Mapping[str, tuple[str, ...]]  # name, such as footwear → the product types that belong to it
    threshold: float = 0.3  # lowest score of a product
    type_weight: float = 0.2  # of the probability of a product type that belongs to another group than the one found
    side: int = 576  # pixels of the longer side of the input
    channels: int = 96  # of the pyramid
    convolutions: int = 2  # of each head

    def __post_init__(self) -> None:
        if not self.groups or not all(self.groups) or not all(isinstance(t, tuple) for t in self.groups.values()):
            raise ValueError("groups must map names to lists of product types")
        for key, (kind, least, largest) in FINDER_LIMITS.items():
            value = getattr(self, key)
            if not is_number(value, kind) or not least <= value <= largest:
                raise ValueError(f"{key} of the finder must be from {least} to {largest}; it is {shortened(value)}")
        if self.channels % 32:  # groups of the heads' normalisation
            raise ValueError(f"channels must be a multiple of 32; it is {self.channels}")

    def type_weights(self, group: str, types: Sequence[str]) -> list[float]:
        """Of each product type for a product of this group; those that belong to no group keep their probability."""
        others = {each for of_group in self.groups.values() for each in of_group} - set(self.groups[group])
        return [self.type_weight if each in others else 1.0 for each in types]


@dataclass(frozen=True)
class ModelConfig:
    attributes: tuple[Attribute, ...]
    num_classes: Mapping[str, int]  # by attribute name
    temperatures: Mapping[str, float]  # by attribute name; logits are divided by it (Guo et al., ICML 2017)
    backbone: str  # a timm model, or efficientnet_v2_s (torchvision)
    mean: tuple[float, float, float]  # of pixels scaled to [0, 1]
    std: tuple[float, float, float]
    image_size: tuple[int, int]  # height, width of the input; photographs are letterboxed
    heads: str = LINEAR  # or moe
    experts: int = 0  # number of experts of moe heads, shared by the attributes
    dropout: float = 0.2
    fashion_threshold: float = 0.0  # a photograph with a lower fashion score shows no fashion product
    format_version: int = FORMAT_VERSION
    interpolation: str = INTERPOLATIONS[0]  # with which photographs are resized
    temperature_slope: float = 0.0  # of the logarithm of the temperatures, which falls as the fashion score rises
    finder: FinderConfig | None = None  # None: the checkpoint does not find products

    @classmethod
    def for_backbone(
        cls, backbone: str, attributes: Sequence[Attribute], num_classes: Mapping[str, int], **others: Any
    ) -> ModelConfig:
        """Uncalibrated, with the preprocessing that the ImageNet weights of `backbone` expect where `others` has none.

        An interpolation that is not one of `INTERPOLATIONS` becomes the first of them.
        """
        settings = pretrained_settings(backbone) | others
        if settings["interpolation"] not in INTERPOLATIONS and "interpolation" not in others:
            settings["interpolation"] = INTERPOLATIONS[0]
        temperatures = dict.fromkeys(num_classes, 1.0)
        return cls(tuple(attributes), dict(num_classes), temperatures, backbone, **settings)

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.image_size, self.mean, self.std, self.interpolation)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ModelConfig:
        """ValueError for an unknown version or key, a missing key that has no default, or an invalid value."""
        version = document.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise ValueError(f"has format version {shortened(version)}; this code reads {FORMAT_VERSION}")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        missing = sorted(name for name, needed in fields.items() if needed and name not in document)
        unknown = sorted(set(document) - set(fields))
        if missing or unknown:
            raise ValueError(f"lacks {missing} and has unknown {shortened(unknown)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        try:
            values["attributes"] = tuple(Attribute(**attribute) for attribute in document["attributes"])
        except TypeError as error:
            raise ValueError("attributes must be a list of objects with name, column and title") from error
        if (section := document.get("finder")) is not None:
            try:
                groups = {str(name): tuple(map(str, types)) for name, types in section["groups"].items()}
                values["finder"] = FinderConfig(**{**section, "groups": groups})
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError(f"finder is no valid section: {error}") from error
        return cls(**values)

    def __post_init__(self) -> None:
        names = [attribute.name for attribute in self.attributes]
        if self.finder and PRODUCT_TYPE not in names:
            raise ValueError(f"a finder needs the attribute {PRODUCT_TYPE}")
        columns = {attribute.column for attribute in self.attributes}
        if not names or len(set(names)) != len(names) or len(columns) != len(names):
            raise ValueError(f"attributes must have distinct names and columns, not {shortened(names)}")
        check_backbone(self.backbone)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {INTERPOLATIONS}, not {shortened(self.interpolation)}")
        for key, (kind, least, largest) in LIMITS.items():
            value, wanted = getattr(self, key), "a number"
            numbers: list[Any] = [value]
            if key in LENGTHS:
                wanted = f"{LENGTHS[key]} numbers"
                numbers = list(value) if isinstance(value, tuple) and len(value) == LENGTHS[key] else [None]
            elif key in MAPPINGS:
                wanted = f"a number for each of {', '.join(names)}, in this order,"
                numbers = list(value.values()) if isinstance(value, Mapping) and list(value) == names else [None]
            if not all(is_number(n, kind) and least <= n <= largest for n in numbers):
                raise ValueError(f"{key} must be {wanted} from {least} to {largest}; it is {shortened(value)}")
        check_heads(self.heads, self.experts)


def is_number(value: object, kind: type) -> bool:
    """Whether it is a whole number, or any if `kind` is float."""
    return isinstance(value, int | kind) and not isinstance(value, bool)


def check_heads(kind: str, experts: int) -> None:
    """ValueError unless `kind` is linear with 0 experts, or moe with at least 2."""
    if not ((kind == LINEAR and experts == 0) or (kind == MOE and experts >= 2)):
        wanted = f"{LINEAR} with 0 experts, or {MOE} with at least 2"
        raise ValueError(f"heads must be {wanted}, not {kind!r} with {experts}")
