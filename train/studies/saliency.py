"""Measure class activation maps on worn products of the test split: candidates by rows, measures by columns.

    python -m train saliency --checkpoint fashion_model/default_checkpoint --data data/

A candidate is a method of fashion_model.explain, what its gradient is of, and the stages whose maps are averaged;
random maps and a Gaussian in the center are floors. Of crops whose product type is predicted right:

- deletion, insertion (Petsiuk et al., BMVC 2018): the type's mean probability while pixels turn white in the order of
  the map (lower is better), and while they appear in a blurred crop;
- ROAD (Rong et al., ICML 2022): half of how much more it hurts to remove the highest pixels than the lowest;
- energy, peak: the share of the map on the product's mask, and whether its maximum is there (Zhang et al., ECCV 2016);
- attributes, runner-up: how the maps of two attributes, and of the two likeliest types, correlate (lower is better).

In brackets is the 95 % interval. + and - mark what is better or worse than the default of fashion_model.explain.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from data_prep.splits import TEST
from fashion_model.checkpoint import load_checkpoint
from fashion_model.explain import LAYERS, METHOD, METHODS, SCORE, SCORES, Target, explain
from fashion_model.models.multitask import MultiTaskClassifier
from train.data.domains import WORN, Split, load_domains
from train.data.table import DataError, read_table
from train.data.training_set import mask_of
from train.evaluate.metrics import mean_interval
from train.evaluate.tables import markdown_table

TYPE = "product_type"
# Whether more (1) or less (-1) is better, and the measure of a crop and of maps (targets, H, W): of the predicted type,
# of its runner-up, and of the other attributes.
MEASURES = {
    "deletion": (-1, lambda crop, maps: crop.probability_along(maps[0], crop.pixels, torch.ones_like(crop.pixels))),
    "insertion": (1, lambda crop, maps: crop.probability_along(maps[0], crop.blurred, crop.pixels)),
    "ROAD": (1, lambda crop, maps: crop.road(maps[0])),
    "energy": (1, lambda crop, maps: maps[0][crop.mask].sum() / maps[0].sum().clip(1e-9)),
    "peak": (1, lambda crop, maps: crop.mask.flat[maps[0].argmax()]),
    "attributes": (-1, lambda crop, maps: correlation(np.delete(maps, 1, axis=0))),
    "runner-up": (-1, lambda crop, maps: correlation(maps[:2])),
}


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    crops: int = 50
    stages: tuple[int, ...] = (-1, -2)  # each alone, and all together
    methods: tuple[Literal[tuple(METHODS)], ...] = tuple(METHODS)
    scores: tuple[Literal[tuple(SCORES)], ...] = tuple(SCORES)
    measures: tuple[Literal[tuple(MEASURES)], ...] = tuple(MEASURES)  # the first three take nearly all of the time


def run(config: Config) -> None:
    layers = [*((stage,) for stage in config.stages), config.stages]
    candidates = list(dict.fromkeys([(METHOD, LAYERS, SCORE), *product(config.methods, layers, config.scores)]))
    crops = list(islice(crops_of(config.checkpoint, config.data), config.crops))
    if not crops:
        raise DataError(f"{config.data} has no worn products of the test split, or no type is predicted right")
    measured = [measure(crop, candidates, config.measures) for crop in tqdm(crops, unit="crop", disable=None)]
    values = {name: np.array([of_crop[name] for of_crop in measured]).T for name in measured[0]}  # (measures, crops)
    groups, default = [crop.group for crop in crops], next(iter(values.values()))
    rows = [
        (name, *(cell(*of, groups) for of in zip(of_name, default, config.measures, strict=True)))
        for name, of_name in values.items()
    ]
    table = markdown_table(pd.DataFrame(rows, columns=["", *config.measures]))
    print(f"{table}\n\n{len(crops)} crops of {len(set(groups))} photographs")


def cell(values: np.ndarray, default: np.ndarray, measure: str, groups: list[str]) -> str:
    """Mean and interval of values (crops,), and whether they are better (+) or worse (-) than `default` (crops,)."""
    low, high = mean_interval(values, groups)
    worst, best = mean_interval(MEASURES[measure][0] * (values - default), groups)
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f}){' +' if worst > 0 else ' -' if best < 0 else ''}"


@dataclass(frozen=True)
class Crop:
    model: MultiTaskClassifier
    pixels: torch.Tensor  # (3, H, W) in [0, 1], letterboxed
    mask: np.ndarray  # (H, W) bool, True on the product
    group: str
    number: int  # in the table
    predicted: int = 0  # index of the type

    @torch.no_grad()
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities of the types (B, types) for images (B, 3, H, W) in [0, 1]."""
        pooled = self.model.features(self.model.config.preprocessing.normalise(images))
        return self.model.calibrate(self.model.heads(pooled), self.model.fashion_scores(pooled))[TYPE]

    @property
    def blurred(self) -> torch.Tensor:
        """The pixels, blurred with a standard deviation of a twelfth of the shorter side."""
        sigma = min(self.mask.shape) / 12
        return functional.gaussian_blur(self.pixels, [2 * round(2 * sigma) + 1] * 2, [sigma] * 2)

    def maps(self, method: str, layers: tuple[int, ...], score: str) -> np.ndarray:
        """(targets, h, w): of the predicted type, of its runner-up, and of the other attributes."""
        targets = [Target(TYPE), Target(TYPE, rank=1)]
        targets += [Target(name) for name in self.model.config.num_classes if name != TYPE]
        image = self.model.config.preprocessing.normalise(self.pixels[None])
        return explain(self.model, image, targets, method, layers, score).maps

    def probability_along(self, heat: np.ndarray, start: torch.Tensor, end: torch.Tensor) -> float:
        """The mean over steps in which tenths of the pixels of `start` become those of `end`, the highest first."""
        images = torch.where(torch.from_numpy(ranks(heat)) >= torch.linspace(1, 0, 11)[:, None, None, None], end, start)
        return float(self.probabilities(images)[:, self.predicted].mean())

    def road(self, heat: np.ndarray) -> float:
        torch.manual_seed(0)  # it adds noise
        targets = [lambda probabilities: probabilities[self.predicted]]
        return float(ROADCombined([25, 50, 75])(self.pixels[None], ranks(heat)[None], targets, self.probabilities)[0])


def crops_of(checkpoint: Path, data: Path) -> Iterator[Crop]:
    """The crops whose type is predicted right, in random order."""
    loaded = load_checkpoint(checkpoint)
    model: MultiTaskClassifier = loaded.model.requires_grad_(False)
    split = Split(data, TEST, read_table(data), model.config.attributes, loaded.encoders)
    worn = next(iter(load_domains(split, [WORN])), None)
    if worn is None or TYPE not in model.config.num_classes:
        return
    letterbox = model.config.preprocessing.letterbox
    tags = json.loads((data / "worn" / "tags.json").read_text(encoding="utf-8"))
    masks = replace(worn, paths=list(map(mask_of, worn.paths)))
    for row in np.random.default_rng(0).permutation(len(worn)):
        number = tags.index(worn.tags[row])
        mask = np.asarray(letterbox(masks[row].point(lambda value, number=number: 255 * (value != number))))
        pixels = functional.to_dtype(functional.pil_to_tensor(letterbox(worn[row])), torch.float32, scale=True)
        crop = Crop(model, pixels, mask[..., 0] < 128, worn.groups[row], int(row))
        crop = replace(crop, predicted=int(crop.probabilities(pixels[None]).argmax()))
        if worn.targets[TYPE][row, crop.predicted] > 0 and crop.mask.any():
            yield crop


def measure(crop: Crop, candidates: list[tuple], measures: tuple[str, ...]) -> dict[str, list[float]]:
    """The measures of each candidate and of each floor, by its name."""
    maps = {
        f"{method}, {score}, stages {stages}": crop.maps(method, stages, score) for method, stages, score in candidates
    }
    shape, targets = crop.mask.shape, len(crop.model.config.num_classes) + 1
    maps["random, 7×7"] = np.random.default_rng(crop.number).random((targets, 7, 7), np.float32)
    y, x = np.meshgrid(*(np.linspace(-2, 2, side, dtype=np.float32) for side in shape), indexing="ij")
    maps["Gaussian"] = np.tile(np.exp(-(y**2 + x**2) / 2), (targets, 1, 1))
    measured = {}
    for name, of_name in maps.items():
        resized = torch.nn.functional.interpolate(torch.from_numpy(of_name)[None], shape, mode="bicubic")
        measured[name] = [MEASURES[key][1](crop, resized[0].clamp(0, 1).numpy()) for key in measures]
    return measured


def ranks(heat: np.ndarray) -> np.ndarray:
    """The rank of each pixel (H, W), in [0, 1); ties, such as areas of 0, in random order."""
    ties = np.random.default_rng(0).random(heat.size)
    return np.lexsort((ties, heat.ravel())).argsort().reshape(heat.shape) / heat.size


def correlation(maps: np.ndarray) -> float:
    """The mean correlation over the pairs of maps (N, H, W); with a map of one value it is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        of_pairs = np.nan_to_num(np.corrcoef(maps.reshape(len(maps), -1)))
    return float(of_pairs[np.triu_indices(len(maps), 1)].mean())
