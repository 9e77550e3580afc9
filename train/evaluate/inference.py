"""Run a network over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.preprocessing import Preprocessing
from train.data.loading import batches_of, keep_freed_memory

BATCH_SIZE = 32  # more needs more memory and is not faster


@dataclass(frozen=True)
class Outputs:
    """What the network computes for N images, on the CPU."""

    logits: dict[str, torch.Tensor]  # attribute name → (N, classes) float32
    fashion_scores: torch.Tensor  # (N,) log odds
    gates: dict[str, torch.Tensor]  # of MoE heads: attribute name → weight of each expert (N, experts)


def outputs_of(model: MultiTaskClassifier, images: Sequence[Image.Image], workers: int = 1) -> Outputs:
    """Leaves `model` in evaluation mode. DataError for an image that cannot be read."""
    pooled = pooled_features(model, images, workers)
    with torch.inference_mode():
        return Outputs(
            {name: x.float().cpu() for name, x in model.heads(pooled).items()},
            model.fashion_scores(pooled).float().cpu(),
            {name: x.float().cpu() for name, x in model.heads.gates_of(pooled).items()},
        )


@torch.inference_mode()
def pooled_features(model: MultiTaskClassifier, images: Sequence[Image.Image], workers: int = 1) -> torch.Tensor:
    """(N, C) float32 on the model's device."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    model.eval()
    workers = workers if len(images) > BATCH_SIZE else 0  # a single batch is read as soon here
    batches = batches_of(_Inputs(images, model.config.preprocessing), workers, batch_size=BATCH_SIZE)
    count = math.ceil(len(images) / BATCH_SIZE)
    progress = tqdm(batches, getattr(images, "name", "images"), count, unit="batch", leave=False, disable=None)
    return torch.cat(
        [model.features(batch.to(device, memory_format=torch.channels_last)).float() for batch in progress]
    )


class _Inputs(Dataset):
    """Transformed images (3, H, W)."""

    def __init__(self, images: Sequence[Image.Image], transform: Preprocessing):
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.images[index])
