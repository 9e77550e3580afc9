"""Recipes: from prepared data to an evaluated checkpoint.

    python -m train recipe default --data data/ --output runs/default

After an interruption the same call continues: see `train fit --resume`. --smoke runs all steps in minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from train.evaluate import command as evaluate
from train.finish import calibrate
from train.fit import command as fit
from train.recipes import default, quick
from train.report import command as report

RECIPES: dict[str, Any] = {"default": default, "quick": quick}


@dataclass(frozen=True)
class Config:
    name: Annotated[Literal["default", "quick"], tyro.conf.Positional]
    data: Path  # the folder that data_prep wrote
    output: Path  # the checkpoint directory to write
    attributes: tuple[str, ...] = ()  # see `train fit`; its default if none are given
    backbone: str | None = None  # see `train fit`; the recipe's own if none is given
    weights: str = "imagenet"  # what the training starts from: imagenet, none, or a file
    workers: int = 1  # processes that prepare images
    smoke: bool = False  # run all steps in minutes


def run(config: Config) -> None:
    recipe = RECIPES[config.name]
    given = {key: value for key in ("attributes", "backbone") if (value := getattr(config, key))}
    image_size = (72, 72) if config.smoke and recipe.IMAGE_SIZE else recipe.IMAGE_SIZE
    where: dict[str, Any] = {"data": config.data, "workers": config.workers}
    steps: list[tuple[str, Callable[[Any], object], Any]] = [
        (
            "fit",
            fit.run,
            fit.Config(
                output=config.output,
                weights=config.weights,
                smoke=config.smoke,
                resume=True,
                **where,
                **recipe.SETTINGS | given,
            ),
        ),
        ("calibrate", calibrate.run, calibrate.Config(config.output, image_size=image_size, **where)),
        ("evaluate", evaluate.run, evaluate.Config(config.output, **where)),
        ("report", report.run, report.Config(config.output, **where)),
    ]
    for name, step, settings in steps:
        start = time.monotonic()
        step(settings)
        print(f"{name}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
