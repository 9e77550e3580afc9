"""The step of a training: with freed memory returned to the system and kept, and with its views prepared meanwhile."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fashion_model.models.backbones import Backbone
from fashion_model.models.config import ModelConfig
from train.fit.config import NO_WEIGHTS, FitConfig
from train.fit.data import read_data
from train.fit.model import build_model
from train.fit.trainer import Trainer
from train.studies.benchmark.catalogue import in_another_process
from train.studies.benchmark.timing import spread
from train.workers import keep_freed_memory

STEPS = 4
PREFETCHED = 2  # batches that a worker prepares ahead
ENDLESS = 10**6  # epochs
BATCH_SIZE, SIDE = 64, 128  # of the step whose memory is freed or kept


def measure(config: ModelConfig, data: Path | None, rounds: int) -> str:
    found = [speed_with_memory(False, rounds), speed_with_memory(True, rounds)]
    lines = [f"images a second, memory freed: {found[0]:.1f}; kept: {found[1]:.1f}; times {found[1] / found[0]:.2f}"]
    if data is not None:
        lines.append(
            in_another_process(__name__, f"print(input_pipeline({config.backbone!r}, {str(data)!r}, {rounds}))")
        )
    return "\n".join(lines)


def speed_with_memory(keep: bool, rounds: int) -> float:
    """In a process of its own, as what was told to the C library cannot be taken back."""
    return float(in_another_process(__name__, f"print(training_speed({keep}, {rounds}))"))


def training_speed(keep: bool, rounds: int) -> float:
    """Images a second of forward and backward passes of the compact backbone, the best of `rounds` after a warm-up.

    As for the freed memory where the C library is not glibc.
    """
    if keep:
        keep_freed_memory()
    network = Backbone("tf_efficientnet_lite0", (SIDE, SIDE)).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH_SIZE, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        network(images).mean().backward()
        network.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return BATCH_SIZE / min(seconds[1:])


def input_pipeline(backbone: str, data: str, rounds: int) -> str:
    """Training steps on views that a worker prepares meanwhile, beside the same on a random tensor in memory."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as output:
        settings = {"backbone": backbone, "weights": NO_WEIGHTS, "device": "cpu", "epochs": ENDLESS}
        config = FitConfig(Path(data), Path(output), **settings)
        read = read_data(config)
        model = build_model(config, read.attributes, read.encoders).model
        trainer = Trainer(config, model, read.training_set)
    batches = itertools.chain.from_iterable(map(trainer.batches, itertools.count()))
    resident = torch.randint(256, (config.batch_size, 3, *config.image_size), dtype=torch.uint8)
    indices = torch.arange(config.batch_size)
    trainer.model.train()
    ratios, speeds = [], []
    for number in range(rounds + 1):
        trainer.train_one_batch(resident, indices)  # meanwhile the worker prepares the next batches and rests
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.train_one_batch(resident, indices)
        alone = time.perf_counter() - start
        for _ in range(PREFETCHED):
            next(batches)
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.train_one_batch(*next(batches))
        prepared = time.perf_counter() - start
        if number:
            ratios.append(alone / prepared)
            speeds.append(STEPS * config.batch_size / prepared)
    return (
        f"training on prepared views, images a second: {spread(np.array(speeds), 1)}; "
        f"times the step on a random tensor: {spread(np.array(ratios), 2)}"
    )
