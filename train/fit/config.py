"""The settings of a training run, which are the command line of `python -m train fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from fashion_model.models.backbones import check_backbone
from fashion_model.models.config import LINEAR, check_heads
from train.data.domains import DOMAINS
from train.data.table import DEFAULT_ATTRIBUTES, attributes_named
from train.data.training_set import EMPTY, Augmentation

IMAGENET, NO_WEIGHTS = "imagenet", "none"
# Settings that do not change the result of an epoch: a run may be continued with others.
UNRELATED = ("data", "output", "device", "workers", "resume")
LENGTH = ("epochs", "small_epochs", "cooldown_epochs")
AT_LEAST_0 = (
    *("load_balance_weight", "imagenet_distillation_weight", "cooldown_epochs", "linear_probe_steps"),
    *("frozen_stages", "repeat_threshold"),
)
ABOVE_0 = ("epochs", "epoch_views", "batch_size", "learning_rate")
SHARES = {kind.name: kind.share for kind in DOMAINS if kind.share} | {EMPTY: 0.04}
# What decides a run as well, with one value for all.
CONSTANTS = {
    "heads_lr_factor": 3.0,  # the learning rate of the heads, as a multiple of the backbone's
    "weight_decay": 0.05,
    "warmup_steps": 500,
    "fashion_loss_weight": 0.5,
    "ema_decay": 0.9995,  # of the moving average of the weights, which is validated and saved
    "distilled_part": 0.25,  # of a batch, for `imagenet_distillation_weight`
}


@dataclass(frozen=True)
class FitConfig:
    data: Path  # The folder that data_prep wrote.
    output: Path  # The checkpoint directory to write.
    attributes: tuple[str, ...] = DEFAULT_ATTRIBUTES
    """Any columns of the cleaned table; color and product_type are its baseColour and articleType."""
    backbone: str = "tf_efficientnet_lite2"
    """A timm model that gives a feature map or tokens, or efficientnet_v2_s (torchvision)."""
    heads: Literal["linear", "moe"] = LINEAR  # One linear layer an attribute, or a multi-gate mixture of experts.
    experts: int = 0  # Number of experts of moe heads, at least 2.
    load_balance_weight: float = 0.0  # Loss weight of the experts' uneven use.
    weights: str = IMAGENET
    """imagenet, none, a weights file, or a checkpoint directory to continue from (./imagenet, if it is called so)."""
    image_size: tuple[int, int] = (224, 224)  # Height and width of the input; a square.
    small_image_size: tuple[int, int] | None = None  # Input size of the first small_epochs (progressive resizing).
    small_epochs: int = 0  # Epochs with small_image_size, of all epochs.
    epochs: int = 4
    epoch_views: int = 32_768  # Images that an epoch shows.
    cooldown_epochs: int = 1  # Last epochs, in which the learning rate falls to 0; before them it is constant.
    batch_size: int = 32
    learning_rate: float = 5e-4  # The backbone's, after warm-up.
    linear_probe_steps: int = 0  # Batches in which only the heads are trained, before fine-tuning.
    frozen_stages: int = 0  # Stages of the backbone that keep their weights, from the input on.
    dropout: float = 0.2
    imagenet_distillation_weight: float = 0.0
    """Loss weight of keeping the ImageNet network's 1000-class predictions (learning without forgetting)."""
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    """The parts of an epoch's views, by domain. Domains that are not named are not trained on."""
    accessory_share: float | None = 0.4
    """The part of the catalogue's and of worn products' views; None for as many as they have images."""
    repeat_threshold: float = 0.003
    """Labels with a smaller share of a domain are shown more often (repeat factor sampling)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    workers: int = 1  # Processes that prepare images.
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    smoke: bool = False  # Run the same code in seconds: few, small images, two epochs, no ImageNet weights.
    resume: bool = False  # Continue after the last finished epoch.

    def __post_init__(self) -> None:
        """ValueError for settings that no training can have."""
        attributes_named(self.attributes)
        weights = Path(self.weights).resolve()
        overwritten = weights.parent if weights.is_file() else weights
        if self.weights not in (IMAGENET, NO_WEIGHTS) and overwritten == self.output.resolve():
            raise ValueError(f"the weights {self.weights} would be overwritten; choose another output")
        check_backbone(self.backbone)
        check_heads(self.heads, self.experts)
        for key in (*AT_LEAST_0, *ABOVE_0):
            value = getattr(self, key)
            if not 0 <= value < float("inf") or (key in ABOVE_0 and value == 0):
                raise ValueError(
                    f"{key} must be a number {'above 0' if key in ABOVE_0 else 'from 0 on'}; it is {value}"
                )
        for name, share in {"dropout": self.dropout, **self.shares, **dataclasses.asdict(self.augmentation)}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1; it is {share}")
        unknown = set(self.shares) - set(SHARES)
        if unknown or not any(self.shares.values()):
            raise ValueError(f"shares must name domains of {', '.join(SHARES)}; unknown are {sorted(unknown)}")
        if self.load_balance_weight and self.heads == LINEAR:
            raise ValueError("load_balance_weight needs moe heads")
        small, full = self.small_image_size, self.image_size
        if full[0] != full[1] or full[0] < 1:
            raise ValueError(f"image_size must be a square; it is {full}")
        if (small is None) != (self.small_epochs == 0) or not 0 <= self.small_epochs < self.epochs:
            raise ValueError("small_image_size needs small_epochs, above 0 and below epochs")
        if small is not None and (small[0] != small[1] or not 0 < small[0] < full[0]):
            raise ValueError(f"small_image_size {small} must be a square smaller than {full}")

    @property
    def effective(self) -> FitConfig:
        """The settings to train with: with `smoke`, small ones."""
        if not self.smoke:
            return self
        small = {"small_image_size": (32, 32), "small_epochs": 1} if self.small_epochs else {}
        return dataclasses.replace(
            self,
            weights=NO_WEIGHTS if self.weights == IMAGENET else self.weights,
            imagenet_distillation_weight=0.0,
            image_size=(64, 64),
            epochs=min(self.epochs, 2),
            epoch_views=min(self.epoch_views, 256),
            cooldown_epochs=min(self.cooldown_epochs, 1),
            batch_size=16,
            linear_probe_steps=min(self.linear_probe_steps, 2),
            **small,
        )

    def settings(self) -> dict[str, Any]:
        """The settings that decide the result, as JSON stores them."""
        document = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
        return {key: value for key, value in document.items() if key not in UNRELATED} | CONSTANTS
