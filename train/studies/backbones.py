"""Try one small model of each family of timm as the backbone: what `train fit --backbone NAME` would do with it.

    python -m train backbones

A family is a module of timm. Its model is chosen by name, e.g. resnetv2_18 or convit_tiny, and has random weights. Each
is built, and explains a label on its first, middle and last stage. Prints a table: how many stages there are, or why
there is no backbone. The exit status is 1 if a network that was accepted fails afterwards.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import timm
import torch

from fashion_model.explain import METHOD, Target, explain
from fashion_model.models.config import ModelConfig
from fashion_model.models.engine import building, isolated
from fashion_model.models.multitask import MultiTaskClassifier
from train.data.table import attributes_named

SIZES = ("test", "atto", "femto", "pico", "nano", "xxs", "xs", "mini", "tiny", "t", "small", "s")  # words of names
LARGEST = 30  # million parameters; families without smaller models are not tried
WORKS, REFUSED, LARGE, FAILED = "works", "refused", "not tried", "FAILED"


@dataclass(frozen=True)
class Config:
    families: tuple[str, ...] = ()
    """Modules of timm, such as resnet; all that have models if none are given."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width of the input."""


def run(config: Config) -> int:
    """The exit status."""
    counts: Counter[str] = Counter()
    print("| family | model | outcome | stages, or the reason |\n|:--|:--|:--|:--|")
    for family in config.families or timm.list_modules():
        if names := timm.list_models(module=family):
            name = min(names, key=_size)
            outcome, detail = tried(name, config.image_size)
            counts[outcome] += 1
            print(f"| {family} | {name} | {outcome} | {detail} |", flush=True)
    print(f"\n{sum(counts.values())} families: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}")
    return 1 if counts[FAILED] else 0


def _size(name: str) -> tuple[int, int, str]:
    """Sorts models by words of their names, then by the sum of the numbers in them."""
    known = [SIZES.index(word) for word in name.split("_") if word in SIZES]
    return min(known, default=len(SIZES)), sum(map(int, re.findall("[0-9]+", name))), name


def tried(name: str, image_size: tuple[int, int]) -> tuple[str, str]:
    """The outcome, and the number of stages or the reason."""
    with torch.device("meta"):
        millions = sum(parameter.numel() for parameter in timm.create_model(name).parameters()) // 10**6
    if millions > LARGEST:
        return LARGE, f"{millions} million parameters"
    try:
        config = ModelConfig.for_backbone(name, attributes_named(["color"]), {"color": 2}, image_size=image_size)
        with building():
            model = MultiTaskClassifier(config).eval().requires_grad_(False)
    except ValueError as error:
        return REFUSED, str(error).splitlines()[0]
    count = len(model.backbone.stages)
    layers = sorted({0, count // 2, count - 1})
    try:
        with isolated():
            maps = explain(model, torch.rand(1, 3, *image_size), [Target("color")], METHOD, layers).maps
    except Exception as error:  # what a network raises that should have been refused
        return FAILED, f"{type(error).__name__}: {error}".splitlines()[0]
    return (WORKS, str(count)) if np.isfinite(maps).all() else (FAILED, "its maps are not numbers")
