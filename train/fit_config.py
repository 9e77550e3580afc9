"""The settings of a training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from fashion_model.backbones import IMAGENET, backbone_named
from fashion_model.heads import LINEAR

# Settings that leave the result as it is; what `soft_targets` holds is compared by its digest.
UNRELATED = ("data", "output", "device", "workers", "soft_targets")
EXPERTS = 4  # of a mixture, if nothing else is asked for


@dataclass(frozen=True)
class FitConfig:
    data: str
    output: str
    backbone: str = "efficientnet_lite2"
    heads: str = LINEAR  # or moe
    experts: int = 0  # of the mixture, shared by the attributes
    balance: float = 0.0  # weight of the experts' uneven use in the loss
    mirrored: bool = False  # whether the network, once trained, looks at the mirrored photograph too
    weights: str = IMAGENET  # imagenet, none, a local file, or a checkpoint directory to go on from
    image_size: tuple[int, int] = (192, 192)  # height, width; a square
    epochs: int = 4  # with 0 the heads alone are trained
    first_size: tuple[int, int] | tuple[()] = ()  # of the input in the first `first_epochs`: progressive resizing
    first_epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 7e-4  # of the backbone, at its peak
    heads_rate: float = 3.0  # times that for the heads
    heads_steps: int = 0  # batches in which the heads are trained alone, before all the rest: linear probing
    frozen_stages: int = 0  # of the backbone, from the input on; they keep the weights they begin with
    weight_decay: float = 0.05
    dropout: float = 0.2
    soft_targets: str = ""  # a file of `train soft_targets`: another network's answers to the catalogue's thumbnails
    soft_weight: float = 0.5  # of them in the target; the labels have the rest
    imagenet_weight: float = 0.0  # in the loss, of answering ImageNet's classes as its weights do
    fashion_weight: float = 0.5  # in the loss, of telling fashion products from other pictures
    average: float = 0.999  # of the weights that are measured and saved: exponential moving average over steps
    rare: float = 0.003  # labels with a smaller share of the rows are shown more often
    seed: int = 0
    workers: int = 1
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    smoke: bool = False  # a few hundred photographs, small, for two epochs: the same path in seconds

    def __post_init__(self) -> None:
        for key, below_one in (("average", True), ("soft_weight", False)):
            value = getattr(self, key)
            if not 0 <= value <= 1 or (below_one and value == 1):
                raise ValueError(f"{key} must be at least 0 and {'below' if below_one else 'at most'} 1; it is {value}")
        for key in ("balance", "imagenet_weight", "fashion_weight", "epochs", "heads_steps", "frozen_stages"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be a number from 0 on; it is {getattr(self, key)}")
        if not self.epochs and not self.heads_steps:
            raise ValueError("nothing is trained in 0 epochs with 0 batches of the heads")
        if self.image_size[0] != self.image_size[1]:
            raise ValueError(f"photographs are trained on in a square; the image size is {self.image_size}")
        if not self.first_size and not self.first_epochs:
            return
        if not self.first_size or not 0 < self.first_epochs < self.epochs:
            raise ValueError("a first size needs a number of first epochs, above 0 and below that of all")
        if self.first_size[0] != self.first_size[1] or not 0 < self.first_size[0] < self.image_size[0]:
            raise ValueError(f"the first size {self.first_size} must be a square smaller than {self.image_size}")
        if backbone_named(self.backbone).patch > 1:
            raise ValueError(f"{self.backbone} takes input of one size; train it twice, then with the first as weights")

    def shrunk(self) -> FitConfig:
        """What --smoke trains."""
        first = {"first_size": (32, 32), "first_epochs": 1} if self.first_epochs else {}
        return dataclasses.replace(
            self,
            smoke=True,
            image_size=(64, 64),
            epochs=min(self.epochs, 2),
            batch_size=16,
            heads_steps=min(self.heads_steps, 2),
            **first,
        )

    def settings(self) -> dict[str, Any]:
        """Those that decide the result, as JSON has them."""
        document = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
        return {key: value for key, value in document.items() if key not in UNRELATED}

    @property
    def rows_limit(self) -> int | None:
        return 256 if self.smoke else None
