"""Carry out a recipe: every command from prepared data to an evaluated checkpoint.

    python -m train recipe default --data data/ --output runs/default
    python -m train recipe quick --data data/ --output runs/quick

Prints each command and how long it takes on two cores, and at the end how often the network is right on thumbnails.
After an interruption the same call continues: finished trainings are skipped, and a started one continues after its
last epoch. --smoke runs all commands in minutes.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data_prep.splits import TEST
from train.data.domains import THUMBNAILS
from train.evaluate.predictions import saved_predictions
from train.recipes import default, quick
from train.recipes.quick import beside_published

RECIPES = {"default": default.steps, "quick": quick.steps}


@dataclass(frozen=True)
class Config:
    name: Annotated[Literal["default", "quick"], tyro.conf.Positional]
    data: Path  # the folder that data_prep wrote
    output: Path  # the folder for all checkpoints; the result is OUTPUT/checkpoint
    teacher: Path | None = None  # a checkpoint with the same labels, whose predictions are distilled
    attributes: tuple[str, ...] = ()  # see `train fit`; its default if none are given
    backbone: str | None = None  # see `train fit`; the recipe's own if none is given
    weights: str = "imagenet"  # what the trainings start from: imagenet, none, or a file
    workers: int = 1  # processes that prepare images
    smoke: bool = False  # run all commands in minutes


def run(config: Config) -> None:
    from train.__main__ import main  # it imports this module for this command

    beginning = time.monotonic()
    for step in RECIPES[config.name](config):
        command = shlex.join(step.command)
        if step.done is not None and step.done.exists():
            print(f"done: python -m train {command}", flush=True)
            continue
        print(f"about {step.minutes} minutes: python -m train {command}", flush=True)
        start = time.monotonic()
        if main(list(step.command)):
            raise ValueError(f"{step.command[0]} failed; the same call of the recipe continues here")
        print(f"{(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    minutes = (time.monotonic() - beginning) / 60
    test = saved_predictions(config.output / "checkpoint", config.data, TEST).domains[THUMBNAILS]
    print(f"{beside_published(test)}; {minutes:.1f} minutes in all")
