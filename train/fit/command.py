"""Train a network and write its checkpoint directory.

Trains on every domain that data_prep has prepared. The checkpoint has the weights of the best epoch by validation, at
the final input size; its folder training/ has the log and what --resume needs.

    torchrun --nproc-per-node N -m train fit …

trains in N processes, each with a part of every batch; the batch size stays that of the settings.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from fashion_model.checkpoint import MAX_SHARD_SIZE, save_checkpoint, write_json
from fashion_model.memory import keep_freed_memory
from train.data.table import write_trained_on
from train.fit import distributed
from train.fit.config import FitConfig
from train.fit.data import FitData, read_data
from train.fit.distillation import ImageNetTeacher
from train.fit.model import build_model
from train.fit.trainer import PROBE, Trainer

Config = FitConfig
CRITERION = "validation_nll"  # summed over attributes and domains; the least decides the best epoch
IMAGE_SIDE = "image_side"  # in pixels
STATE, LOG, FIT = "training/state.pt", "training/log.csv", "training/fit.json"  # in the checkpoint directory


def run(config: FitConfig) -> None:
    with distributed.processes(config.device):
        best = fit(config)
        if distributed.rank() == 0:
            print(f"best epoch {best['epoch']}: {config.output}")


def fit(config: FitConfig) -> dict[str, Any]:
    """Train, and return the entry of the best epoch in the history."""
    config = config.effective
    if config.device == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    data = read_data(config)
    initial = build_model(config, data.attributes, data.encoders)
    teacher = ImageNetTeacher(config.backbone, config.image_size) if config.imagenet_distillation_weight else None
    trainer = Trainer(config, initial.model, data.training_set, teacher)
    identity = config.settings() | data.fingerprint | {"initial_weights": initial.digests}
    history: list[dict[str, Any]] = []

    def finish_epoch(epoch: int, trained: dict[str, float]) -> None:
        metrics = trainer.validate(data.validation)
        history.append(_entry(epoch, trainer.model.config.image_size[0], trained, metrics))
        if distributed.rank() > 0:
            return
        print("  ".join(f"{key} {value:.4g}" for key, value in history[-1].items()), flush=True)
        if best_entry(history) is history[-1]:
            _save_checkpoint(config.output, trainer, data, data.trained_on | initial.trained_on)
        trainer.save_state(config.output / STATE, history=history, identity=identity)
        _write_log(config.output / LOG, history)

    state = config.output / STATE
    if config.resume and state.is_file():
        history += trainer.load_state(state, identity)
        if distributed.rank() == 0:
            print(f"resuming after epoch {history[-1]['epoch']}")
    elif distributed.rank() == 0:
        state.unlink(missing_ok=True)
        (config.output / FIT).unlink(missing_ok=True)  # of an earlier run
    if not history and config.linear_probe_steps:
        trainer.train_heads()
        if not config.epochs:
            finish_epoch(PROBE, {})
    for epoch in range(max((entry["epoch"] for entry in history), default=0), config.epochs):
        finish_epoch(epoch, trainer.train_one_epoch(epoch))
    if distributed.rank() == 0:
        write_json(config.output / FIT, identity)
    return best_entry(history)


def best_entry(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch with the least validation loss among those with the input size of the last one."""
    alike = [entry for entry in history if entry[IMAGE_SIDE] == history[-1][IMAGE_SIDE]]
    return min(alike, key=lambda entry: entry[CRITERION])


def _entry(epoch: int, side: int, trained: dict[str, float], metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    entry = {"epoch": epoch + 1, IMAGE_SIDE: side, **trained}
    entry[CRITERION] = sum(of_domain["nll_sum"] for of_domain in metrics.values())
    entry |= {f"{domain}_{name}": value for domain, of_domain in metrics.items() for name, value in of_domain.items()}
    return entry


def _save_checkpoint(output: Path, trainer: Trainer, data: FitData, trained_on: set[int]) -> None:
    """In half precision, which changes no metric in the digits shown."""
    write_trained_on(output, trained_on)
    save_checkpoint(output, trainer.ema.module, data.encoders, torch.float16, MAX_SHARD_SIZE)


def _write_log(path: Path, history: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
