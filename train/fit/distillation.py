"""Distillation: another network's predictions as soft targets, and the ImageNet network's as a regularizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fashion_model.attributes import LabelEncoders
from fashion_model.files import write_bytes
from fashion_model.models.backbones import Backbone, WeightsError, imagenet_state, load_state
from fashion_model.models.folding import fold_batch_norms
from train.data.domains import Targets
from train.data.table import DataError

IDS = "id"
TEMPERATURE = 2.0  # of the softened ImageNet predictions (Hinton et al. 2015, arXiv:1503.02531)
IMAGENET_CLASSES = 1000


def save_soft_targets(path: Path, ids: Sequence[int], probabilities: Targets) -> None:
    """Product ids (N,) and probabilities (N, classes) of each attribute, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {IDS: torch.tensor(list(ids))} | {name: p.half().contiguous() for name, p in probabilities.items()}
    write_bytes(path, save(tensors))


def load_soft_targets(path: Path, ids: Sequence[int], encoders: LabelEncoders) -> Targets:
    """Those of `ids`, in their order. DataError if one is missing or the classes differ."""
    try:
        tensors = load_file(path)
        row = {product: i for i, product in enumerate(tensors[IDS].tolist())}
        order = torch.tensor([row[product] for product in ids])
        found = {name: tensors[name][order].float() for name in encoders.labels}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: {error}") from error
    except KeyError as error:
        raise DataError(f"{path} has no soft targets for {error}; `train soft-targets` writes them") from error
    shapes = {name: t.shape[1] for name, t in found.items()}
    if shapes != encoders.num_classes:
        raise DataError(f"{path} has {shapes} classes; the data has {encoders.num_classes}")
    return found


class ImageNetTeacher(nn.Module):
    """Learning without forgetting (Li and Hoiem, ECCV 2016): the loss between the 1000-class predictions of the trained
    backbone, through ImageNet's classifier, and those of the ImageNet network.

    The training images hardly show real bags, caps and scarves, which the ImageNet network knows.
    """

    def __init__(self, name: str, image_size: tuple[int, int]):
        """WeightsError if there are no ImageNet weights, or their classifier is not one layer on pooled features."""
        super().__init__()
        state = imagenet_state(name, image_size)
        backbone = Backbone(name, image_size)
        load_state(backbone, state, "ImageNet weights")
        example = torch.rand(1, 3, *image_size, generator=torch.Generator().manual_seed(0))
        self.backbone = fold_batch_norms(backbone.eval(), example)
        shape = (IMAGENET_CLASSES, backbone.channels)
        layers = [key.removesuffix(".weight") for key, t in state.items() if t.squeeze().shape == shape]
        if len(layers) != 1:
            raise WeightsError(f"the ImageNet classifier of {name} is not one layer on pooled features")
        self.classifier = nn.Linear(backbone.channels, IMAGENET_CLASSES)
        self.classifier.load_state_dict({k: state[f"{layers[0]}.{k}"] for k in ("weight", "bias")})
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> ImageNetTeacher:
        """It stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W), pooled features (B, C) of the trained backbone → mean loss."""
        with torch.no_grad():
            target = (self.classifier(self.backbone(images).mean(dim=(2, 3))) / TEMPERATURE).softmax(dim=1)
        student = (self.classifier(pooled) / TEMPERATURE).log_softmax(dim=1)
        return nn.functional.kl_div(student, target, reduction="batchmean") * TEMPERATURE**2
