"""ModelConfig: everything needed to rebuild the network and its preprocessing; saved as config.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fashion_model.attributes import Attribute
from fashion_model.models.backbones import check_backbone, pretrained_settings
from fashion_model.preprocessing import INTERPOLATIONS, Preprocessing

FORMAT_VERSION = 1
LINEAR, MOE = "linear", "moe"  # kinds of heads
MAX_SIDE = 2048  # pixels
MAX_EXPERTS = 64
MIN_STD = 1e-3  # of pixels
TEMPERATURES = (0.01, 100.0)  # minimum and maximum


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
            raise ValueError(f"has format version {version!r}; this code reads {FORMAT_VERSION}")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        missing = sorted(name for name, needed in fields.items() if needed and name not in document)
        unknown = sorted(set(document) - set(fields))
        if missing or unknown:
            raise ValueError(f"lacks {missing} and has unknown {unknown}")
        values: dict[str, Any] = {
            k: tuple(value) if isinstance(value, list) else value for k, value in document.items()
        }
        try:
            values["attributes"] = tuple(Attribute(**attribute) for attribute in document["attributes"])
        except TypeError as error:
            raise ValueError("attributes must be a list of objects with name, column and title") from error
        return cls(**values)

    def __post_init__(self) -> None:
        names = [attribute.name for attribute in self.attributes]
        columns = {attribute.column for attribute in self.attributes}
        if not names or len(set(names)) != len(names) or len(columns) != len(names):
            raise ValueError(f"attributes must have distinct names and columns, at least one; they are {names}")
        check_backbone(self.backbone)
        if not is_number(self.experts, int) or not 0 <= self.experts <= MAX_EXPERTS:
            raise ValueError(f"experts must be a whole number from 0 to {MAX_EXPERTS}; it is {self.experts!r}")
        check_heads(self.heads, self.experts)
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; it is {self.dropout!r}")
        if not is_number(self.fashion_threshold):
            raise ValueError(f"fashion_threshold must be a finite number; it is {self.fashion_threshold!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        self._check_mapping("num_classes", names, int, (1, math.inf))
        self._check_mapping("temperatures", names, float, TEMPERATURES)
        self._check_tuple("image_size", 2, int, (1, MAX_SIDE))
        self._check_tuple("mean", 3, float, (0, 1))
        self._check_tuple("std", 3, float, (MIN_STD, 1))

    def _check_mapping(self, key: str, names: list[str], kind: type, limits: tuple[float, float]) -> None:
        value, (least, largest) = getattr(self, key), limits
        fits = isinstance(value, Mapping) and list(value) == names
        if not fits or not all(is_number(v, kind) and least <= v <= largest for v in value.values()):
            raise ValueError(
                f"{key} must have a number from {least} to {largest} for each of {', '.join(names)}, in this order; "
                f"it is {value!r}"
            )

    def _check_tuple(self, key: str, length: int, kind: type, limits: tuple[float, float]) -> None:
        value, (least, largest) = getattr(self, key), limits
        fits = isinstance(value, tuple) and len(value) == length
        if not fits or not all(is_number(v, kind) and least <= v <= largest for v in value):
            raise ValueError(f"{key} must be {length} numbers from {least} to {largest}; it is {value!r}")


def check_heads(kind: str, experts: int) -> None:
    """ValueError unless `kind` is linear with 0 experts, or moe with at least 2."""
    if not ((kind == LINEAR and experts == 0) or (kind == MOE and experts >= 2)):
        wanted = f"{LINEAR} with 0 experts, or {MOE} with at least 2"
        raise ValueError(f"heads must be {wanted}, not {kind!r} with {experts}")


def is_number(value: object, kind: type = float) -> bool:
    """Whether `value` is a finite number, and whole if `kind` is int."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return math.isfinite(value)
