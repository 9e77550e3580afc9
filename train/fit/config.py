"""The settings of a training run, which are the command line of `python -m train fit`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fashion_model.models.backbones import check_backbone
from fashion_model.models.heads import LINEAR, check_heads
from train.data.table import DEFAULT_ATTRIBUTES, attributes_named

IMAGENET, NO_WEIGHTS = "imagenet", "none"
# Settings that do not change the result; soft targets are compared by their digest.
UNRELATED = ("data", "output", "device", "workers", "resume", "soft_targets")


@dataclass(frozen=True)
class FitConfig:
    data: Path
    """The folder that data_prep wrote."""
    output: Path
    """The checkpoint directory to write."""
    attributes: tuple[str, ...] = DEFAULT_ATTRIBUTES
    """Any columns of the cleaned table; color and product_type are its baseColour and articleType."""
    backbone: str = "tf_efficientnet_lite2"
    """A timm model that gives a feature map or tokens, or efficientnet_v2_s (torchvision)."""
    heads: Literal["linear", "moe"] = LINEAR
    """One linear layer an attribute, or a multi-gate mixture of experts."""
    experts: int = 0
    """Number of experts of moe heads, at least 2."""
    load_balance_weight: float = 0.0
    """Loss weight of the experts' uneven use."""
    weights: str = IMAGENET
    """imagenet, none, a weights file, or a checkpoint directory to continue from."""
    image_size: tuple[int, int] = (192, 192)
    """Height and width of the input; a square."""
    epochs: int = 4
    """With 0, only the heads are trained."""
    small_image_size: tuple[int, int] | None = None
    """Input size of the first small_epochs (progressive resizing)."""
    small_epochs: int = 0
    """Epochs with small_image_size, of all epochs."""
    batch_size: int = 32
    learning_rate: float = 7e-4
    """Peak learning rate of the backbone."""
    heads_lr_factor: float = 3.0
    """The learning rate of the heads, as a multiple of the backbone's."""
    linear_probe_steps: int = 0
    """Batches in which only the heads are trained, before fine-tuning."""
    frozen_stages: int = 0
    """Stages of the backbone that keep their weights, from the input on."""
    weight_decay: float = 0.05
    dropout: float = 0.2
    soft_targets: Path | None = None
    """A file of `train soft-targets`: another network's predictions for the training rows (distillation)."""
    distillation_weight: float = 0.5
    """Share of the soft targets in the target; the labels have the rest."""
    imagenet_distillation_weight: float = 0.0
    """Loss weight of keeping the ImageNet network's 1000-class predictions (learning without forgetting)."""
    fashion_loss_weight: float = 0.5
    """Loss weight of telling fashion products from other images."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which is validated and saved; 0 for none."""
    repeat_threshold: float = 0.003
    """Labels with a smaller share of the rows are shown more often (repeat factor sampling)."""
    thumbnails_only: bool = False
    """Train and validate on the catalogue's thumbnails alone, cropped and mirrored only: for a catalogue like it."""
    balanced: tuple[str, ...] = ("season",)
    """Attributes whose classes get the thumbnails' frequencies in high-resolution photographs."""
    seed: int = 0
    workers: int = 1
    """Processes that prepare images."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    smoke: bool = False
    """Run the same code in seconds: few, small images, two epochs, no ImageNet weights."""
    resume: bool = False
    """Continue after the last finished epoch."""

    def __post_init__(self) -> None:
        attributes_named(self.attributes)
        check_backbone(self.backbone)
        check_heads(self.heads, self.experts)
        for key in ("ema_decay", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 0 and below 1; it is {getattr(self, key)}")
        if not 0 <= self.distillation_weight <= 1:
            raise ValueError(f"distillation_weight must be from 0 to 1; it is {self.distillation_weight}")
        for key in (
            "load_balance_weight",
            "imagenet_distillation_weight",
            "fashion_loss_weight",
            "epochs",
            "linear_probe_steps",
            "frozen_stages",
            "weight_decay",
            "repeat_threshold",
        ):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be a number from 0 on; it is {getattr(self, key)}")
        for key in ("batch_size", "learning_rate", "heads_lr_factor"):
            if not 0 < getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be a number above 0; it is {getattr(self, key)}")
        if self.load_balance_weight and self.heads == LINEAR:
            raise ValueError("load_balance_weight needs moe heads")
        if not self.epochs and not self.linear_probe_steps:
            raise ValueError("nothing is trained with 0 epochs and 0 linear_probe_steps")
        if self.image_size[0] != self.image_size[1] or self.image_size[0] < 1:
            raise ValueError(f"image_size must be a square; it is {self.image_size}")
        self._check_progressive_resizing()

    def _check_progressive_resizing(self) -> None:
        if self.small_image_size is None and not self.small_epochs:
            return
        if self.small_image_size is None or not 0 < self.small_epochs < self.epochs:
            raise ValueError("small_image_size needs small_epochs, above 0 and below epochs")
        if (
            self.small_image_size[0] != self.small_image_size[1]
            or not 0 < self.small_image_size[0] < self.image_size[0]
        ):
            raise ValueError(
                f"small_image_size {self.small_image_size} must be a square smaller than {self.image_size}"
            )

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
            batch_size=16,
            linear_probe_steps=min(self.linear_probe_steps, 2),
            **small,
        )

    def settings(self) -> dict[str, Any]:
        """Those that decide the result, as JSON stores them."""
        document = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
        return {key: value for key, value in document.items() if key not in UNRELATED}

    @property
    def rows_limit(self) -> int | None:
        """Images of each domain and split."""
        return 256 if self.smoke else None
