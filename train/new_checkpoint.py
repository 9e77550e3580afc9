"""A checkpoint directory that was not there before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import LARGEST_FILE, CheckpointError, save_checkpoint
from fashion_model.model import MultiTaskClassifier
from train.trained_on import write_trained_on


def check_new(directory: Path) -> None:
    """CheckpointError if it exists: to be asked before long work too."""
    if directory.exists():
        raise CheckpointError(f"{directory} exists already; figures in it would be taken for this network's")


def write_new(directory: Path, model: MultiTaskClassifier, encoders: LabelEncoders, trained_on: Iterable[int]) -> None:
    """In half precision; `trained_on` are the ids of what went into it."""
    check_new(directory)
    write_trained_on(directory, trained_on)
    save_checkpoint(directory, model, encoders, torch.float16, LARGEST_FILE)
    print(f"{directory}: run train novelty, train calibrate and train evaluate on it")
