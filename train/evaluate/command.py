"""Measure a checkpoint on a split that it was not trained on.

Runs the network over every domain of the data folder, saves its outputs to predictions/SPLIT.safetensors, prints the
tables, and writes the metrics to metrics.json and, for the test split, to the model card README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from data_prep.splits import TEST
from fashion_model.checkpoint import CARD
from fashion_model.system import write_text
from train.data.table import TRAINED_ON
from train.evaluate.card import model_card
from train.evaluate.predictions import predict_split
from train.evaluate.split_metrics import split_metrics, write_split_metrics
from train.evaluate.tables import markdown


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    split: Literal["validation", "test"] = TEST
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def run(config: Config) -> None:
    predictions = predict_split(config.checkpoint, config.data, config.split, config.device, config.workers)
    if not predictions.trained_on_known:
        print(f"The checkpoint has no {TRAINED_ON}: whether it was trained on these pictures is not known.")
    metrics = split_metrics(predictions, config.data)
    write_split_metrics(config.checkpoint, config.split, metrics)
    if config.split == TEST:
        write_text(config.checkpoint / CARD, model_card(config.checkpoint, metrics))
    print(markdown(predictions.attributes, metrics, config.split))
