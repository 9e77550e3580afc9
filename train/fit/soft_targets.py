"""Save a checkpoint's predictions for the training rows, for `train fit --soft-targets` to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.splits import TRAIN
from fashion_model.checkpoint import CheckpointError, load_checkpoint
from train.data.domains import no_targets, thumbnails
from train.data.table import fit_encoders, read_table, rows_of_split
from train.evaluate.inference import outputs_of
from train.fit.distillation import save_soft_targets


@dataclass(frozen=True)
class Config:
    checkpoint: str  # a directory, or user/repo on the Hub
    data: Path  # the folder that data_prep wrote
    output: Path  # the safetensors file to write
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def run(config: Config) -> None:
    rows = rows_of_split(read_table(config.data), TRAIN)
    checkpoint = load_checkpoint(config.checkpoint)
    if checkpoint.encoders != fit_encoders(rows, checkpoint.config.attributes):
        raise CheckpointError(f"{checkpoint.name} has other labels than the training split")
    model = checkpoint.model.to(config.device, memory_format=torch.channels_last)
    images = thumbnails(config.data, rows, no_targets(len(rows), checkpoint.encoders))
    outputs = outputs_of(model, images, config.workers)
    save_soft_targets(config.output, rows["id"].tolist(), model.calibrate(outputs.logits))
    print(f"{config.output}: {len(rows):,} images")
