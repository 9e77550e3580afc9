"""Run a network over images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm import tqdm

from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.preprocessing import Preprocessing
from train.data.table import DataError
from train.workers import keep_freed_memory, workers_with_room

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
    dataset = _Inputs(images, model.config.preprocessing)
    workers = workers_with_room(workers) if len(images) > BATCH_SIZE else 0  # a single batch is read as soon here
    loader = DataLoader(dataset, BATCH_SIZE, num_workers=workers, collate_fn=_collate)
    progress = tqdm(loader, desc=getattr(images, "name", "images"), unit="batch", leave=False, disable=None)
    batches = [
        model.features(batch.to(device, memory_format=torch.channels_last)).float() for batch in _checked(progress)
    ]
    return torch.cat(batches)


class _Inputs(Dataset):
    """Transformed images (3, H, W). An unreadable image is returned as its error: raised in a worker process, its
    message would be a traceback."""

    def __init__(self, images: Sequence[Image.Image], transform: Preprocessing):
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor | DataError:
        try:
            return self.transform(self.images[index])
        except DataError as error:
            return DataError(str(error))


def _collate(items: list[torch.Tensor | DataError]) -> Any:
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def _checked(batches: Iterator[Any]) -> Iterator[torch.Tensor]:
    for batch in batches:
        if isinstance(batch, DataError):
            raise batch
        yield batch
