"""Recipes: from prepared data to an evaluated checkpoint.

    python -m train recipe default --data data/ --output runs/default

`default` is the network that is embedded: EfficientNet-Lite2 with four linear heads, trained from ImageNet weights on
every domain, 14 epochs of 32,768 views, the last one at 192×192 and the others at 160×160 pixels; it is used at
224×224. On it a finder of the products in a photograph, where the data has street photographs. About four hours on two
idle cores without a GPU, and one for the finder. The history of the training is in the training.json of the checkpoint.

`quick` is for a catalogue like the public one: EfficientNet-Lite0, 96×96 pixels, on its thumbnails alone, which
`python -m data_prep catalogue` writes. It is quick on two cores, and wrong about people's photographs.

Of the thumbnails of the test split the default has 67.3 % of colors right, 84.2 % of product types, 69.2 % of seasons
and 89.9 % of genders. Published on the same data: 63.0 % of colors (a ResNet-50, g-gertz MSP), 88.4 % of the 20 most
frequent product types (a ResNet-50, uditarora), 71.2 % of seasons (SigLIP2, prithivMLmods, its training data included),
88.7 % of genders (a ResNet-18, KanishkNoir/CodeMonk).

After an interruption the same call continues, see `train fit --resume`; a finder is trained anew. --smoke runs all
steps in minutes.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fashion_model.attributes import PRODUCT_TYPE
from train.data.domains import THUMBNAILS
from train.data.training_set import Augmentation
from train.evaluate import split_metrics
from train.finish import calibrate, finder
from train.fit import command as fit
from train.report import page

RECIPES: dict[str, dict[str, Any]] = {  # settings of `train fit`
    "default": {
        "backbone": "tf_efficientnet_lite2",
        "linear_probe_steps": 200,
        "frozen_stages": 3,
        "epochs": 14,
        "small_image_size": (160, 160),
        "small_epochs": 13,
        "image_size": (192, 192),
        "cooldown_epochs": 3,
        "imagenet_distillation_weight": 0.3,
    },
    "quick": {
        "backbone": "tf_efficientnet_lite0",
        "shares": {THUMBNAILS: 1.0},
        "accessory_share": None,
        "repeat_threshold": 0.0,
        "augmentation": Augmentation(paste=0, illuminate=0, degrade=0),
        "image_size": (96, 96),
        "epochs": 3,
        "cooldown_epochs": 3,
        "batch_size": 64,
        "learning_rate": 1.5e-3,
        "frozen_stages": 3,
    },
}
IMAGE_SIZE = {"default": (224, 224)}  # after training; of other recipes that of the training
FINDER_STEPS = {"default": 3000}  # checkpoints of other recipes have no finder


@dataclass(frozen=True)
class Config:
    name: Annotated[Literal["default", "quick"], tyro.conf.Positional]
    data: Path  # the folder that data_prep wrote
    output: Path  # the checkpoint directory to write
    attributes: tuple[str, ...] = ()  # see `train fit`; its default if none are given
    backbone: str | None = None  # see `train fit`; the recipe's own if none is given
    weights: str = "imagenet"  # see `train fit`
    workers: int = 1  # processes that prepare images
    smoke: bool = False  # run all steps in minutes


def run(config: Config) -> None:
    given = {key: value for key in ("attributes", "backbone") if (value := getattr(config, key))}
    common: dict[str, Any] = {"data": config.data, "workers": config.workers}
    to_fit = RECIPES[config.name] | given | common | {"weights": config.weights, "smoke": config.smoke}
    image_size, finder_steps = IMAGE_SIZE.get(config.name), FINDER_STEPS.get(config.name)
    if config.smoke:
        image_size, finder_steps = image_size and (72, 72), finder_steps and 2
    steps: list[tuple[str, Any, Any]] = [
        ("fit", fit.run, fit.Config(output=config.output, resume=True, **to_fit)),
        ("calibrate", calibrate.run, calibrate.Config(config.output, image_size=image_size, **common)),
        ("evaluate", split_metrics.evaluate, split_metrics.Config(config.output, **common)),
        ("report", page.report, split_metrics.Config(config.output, **common)),
    ]
    has_scenes = all((config.data / name).is_dir() for name in finder.FOLDERS)
    if finder_steps and has_scenes and PRODUCT_TYPE in (config.attributes or (PRODUCT_TYPE,)):
        steps.insert(2, ("finder", finder.run, finder.Config(config.output, steps=finder_steps, **common)))
    for name, step, settings in steps:
        start = time.monotonic()
        step(settings)
        print(f"{name}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
