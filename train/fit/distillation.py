"""Distillation: the ImageNet network's predictions as a regularizer."""

from __future__ import annotations

import torch
from torch import nn

from fashion_model.models.backbones import Backbone, WeightsError, imagenet_state, load_state
from fashion_model.models.engine import fold_batch_norms

TEMPERATURE = 2.0  # of the softened ImageNet predictions (Hinton et al. 2015, arXiv:1503.02531)
IMAGENET_CLASSES = 1000


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
