"""What another network knows: its answers to the catalogue as soft targets, and ImageNet's classes kept in mind."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from fashion_model.attributes import NAMES, LabelEncoders
from train.dataset import DataError
from train.pictures import Targets

IDS = "id"
TEMPERATURE = 2.0  # at which ImageNet's answers are compared (Hinton et al. 2015, arXiv:1503.02531)


def save_soft_targets(path: Path, ids: list[int], probabilities: Targets) -> None:
    """ids (N,) and for each attribute probabilities (N, classes), in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({IDS: torch.tensor(ids)} | {n: probabilities[n].half().contiguous() for n in NAMES}, path)


def load_soft_targets(path: Path, ids: list[int], encoders: LabelEncoders) -> Targets:
    """Those of `ids`, in their order. DataError if the file lacks one or counts other classes."""
    try:
        tensors = load_file(path)
        row = {product: i for i, product in enumerate(tensors[IDS].tolist())}
        order = torch.tensor([row[product] for product in ids])
        found = {name: tensors[name][order].float() for name in NAMES}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: {error}") from error
    except KeyError as error:
        raise DataError(f"{path} has no soft targets for {error}; `train soft_targets` writes them") from error
    shapes = {name: t.shape[1] for name, t in found.items()}
    if shapes != encoders.num_classes:
        raise DataError(f"{path} has {shapes} classes; the data has {encoders.num_classes}")
    return found


class ImageNetMemory(nn.Module):
    """A backbone as ImageNet left it, with ImageNet's classifier: learning without forgetting.

    How far the trained backbone's answers to ImageNet's 1000 classes are from its own (Li and Hoiem, ECCV 2016).
    Real bags, caps and scarves, which the training pictures lack, are among what it knew.
    """

    def __init__(self, stages: nn.Module, weight: torch.Tensor, bias: torch.Tensor):
        """`stages`: those that training changes. `weight` (1000, C) and `bias` (1000,) are of ImageNet's classifier."""
        super().__init__()
        self.stages = stages.eval().requires_grad_(False)
        self.classifier = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
        self.classifier.load_state_dict({"weight": weight, "bias": bias})

    def train(self, mode: bool = True) -> ImageNetMemory:
        """It stays in evaluation mode."""
        return super().train(False)

    def forward(self, trunk: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """What the unchanged stages gave (B, C, h, w), pooled features (B, D) of the trained backbone → a mean loss."""
        with torch.no_grad():
            before = self.classifier(self.stages(trunk).mean(dim=(2, 3)))
        target = (before / TEMPERATURE).softmax(dim=1)
        now = (self.classifier(pooled) / TEMPERATURE).log_softmax(dim=1)
        return nn.functional.kl_div(now, target, reduction="batchmean") * TEMPERATURE**2
