"""The settings of a training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from fashion_model.backbones import IMAGENET, backbone_named
from fashion_model.heads import LINEAR

EXPERTS = 4  # of a mixture, if nothing else is asked for


@dataclass(frozen=True)
class FitConfig:
    data: str
    output: str
    backbone: str = "efficientnet_lite0"
    heads: str = LINEAR  # or moe
    experts: int = 0  # of the mixture, shared by the attributes
    balance: float = 0.0  # weight of the experts' uneven use in the loss
    mirrored: bool = False  # whether the network, once trained, looks at the mirrored photograph too
    weights: str = IMAGENET  # imagenet, none, a local file, or a checkpoint directory to go on from
    image_size: tuple[int, int] = (128, 96)  # height, width
    epochs: int = 7
    first_size: tuple[int, int] | tuple[()] = ()  # of the input in the first `first_epochs`: progressive resizing
    first_epochs: int = 0
    batch_size: int = 64
    learning_rate: float = 1.5e-3  # at its peak
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    dropout: float = 0.2
    teachers: tuple[str, ...] = ()  # checkpoint directories whose mean answers are learnt beside the labels
    teaching: float = 0.5  # weight of the teachers' answers; the labels have the rest
    average: float = 0.999  # of the weights that are measured and saved: exponential moving average over steps
    sharp: tuple[str, ...] = ()  # folders or zips; half the time a product's sharp photograph stands in for it
    reencode: float = 1.0  # share of the training photographs resampled and JPEG-compressed anew each time,
    light: float = 0.3  # put under another lamp,
    background: float = 0.2  # and before another background
    rare: float = 0.003  # labels with a smaller share of the rows are shown more often
    seed: int = 0
    workers: int = 1
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    smoke: bool = False  # a few hundred photographs, small, for two epochs: the same path in seconds

    def __post_init__(self) -> None:
        for key, below_one in (
            ("label_smoothing", True),
            ("average", True),
            ("reencode", False),
            ("light", False),
            ("background", False),
        ):
            value = getattr(self, key)
            if not 0 <= value <= 1 or (below_one and value == 1):
                raise ValueError(f"{key} must be at least 0 and {'below' if below_one else 'at most'} 1; it is {value}")
        if not self.first_size and not self.first_epochs:
            return
        if not self.first_size or not 0 < self.first_epochs < self.epochs:
            raise ValueError("a first size needs a number of first epochs, above 0 and below that of all")
        (height, width), (first_height, first_width) = self.image_size, self.first_size
        if not 0 < first_height < height or first_height * width != first_width * height:
            raise ValueError(
                f"the first size {self.first_size} must be smaller than {self.image_size}, in its proportions"
            )
        if backbone_named(self.backbone).patch > 1:
            raise ValueError(f"{self.backbone} takes input of one size; train it twice, then with the first as weights")

    def shrunk(self) -> FitConfig:
        """What --smoke trains."""
        first = {"first_size": (32, 24), "first_epochs": 1} if self.first_epochs else {}
        return dataclasses.replace(self, smoke=True, image_size=(64, 48), epochs=2, batch_size=16, **first)

    def settings(self) -> dict[str, Any]:
        """Those that decide the result, as JSON has them."""
        document = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
        return {key: value for key, value in document.items() if key not in ("data", "output", "device")}

    @property
    def rows_limit(self) -> int | None:
        return 256 if self.smoke else None
