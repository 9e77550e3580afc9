"""The training set: images of every prepared domain, and a random view of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from data_prep.photographs import BACKGROUNDS, EVERYDAY, HIGH_RESOLUTION, ON_MODEL
from data_prep.splits import TRAIN
from fashion_model.attributes import LabelEncoders
from train.data import domains
from train.data.augmentation import (
    Backgrounds,
    degrade,
    jitter_illumination,
    pad_to_square,
    paste_on_background,
    random_crop,
    resize_and_recompress,
)
from train.data.domains import NEGATIVES, PHONE, THUMBNAILS, Domain, Targets, concatenate_targets, read_image
from train.data.foreground import cut_out
from train.data.sampling import balance_classes, repeat_factors
from train.data.table import DataError

EMPTY = "empty"  # a background without a product
CATALOGUE = (THUMBNAILS, HIGH_RESOLUTION)
# How often an epoch shows each image of a domain.
REPEATS = {THUMBNAILS: 0.75, HIGH_RESOLUTION: 1.5, PHONE: 3.0, ON_MODEL: 1.5, EVERYDAY: 3.0, NEGATIVES: 3.0, EMPTY: 1.0}
MAX_EMPTY, EMPTY_SHARE = 600, 0.02  # of the other images, at most
PASTED = 0.5  # probability that a catalogue image is pasted on another background


def training_domains(
    data: Path,
    rows: pd.DataFrame,
    targets: Targets,
    encoders: LabelEncoders,
    balanced: Sequence[str] = (),
    limit: int | None = None,
) -> list[Domain]:
    """Every domain that `data` has for training.

    `rows`: the training rows of the cleaned table, with their `targets`. `balanced`: attributes whose high-resolution
    photographs are weighted so that their classes are as frequent as in `rows`. `limit`: images of each domain beside
    the catalogue.
    """
    found = [domains.thumbnails(data, rows, targets)]
    with_photograph = domains.high_resolution_rows(data, rows)
    if len(with_photograph):
        chosen = torch.from_numpy(rows.index.isin(with_photograph.index))
        own = {name: balance_classes(t[chosen], t) if name in balanced else t[chosen] for name, t in targets.items()}
        found.append(domains.high_resolution(data, with_photograph, own))
    if domains.available(data, PHONE):
        found.append(domains.phone(data, TRAIN, encoders, limit))
    if domains.available(data, ON_MODEL):
        found.append(domains.on_model(data, TRAIN, encoders, limit))
    if domains.available(data, EVERYDAY, TRAIN):
        found.append(domains.everyday(data, TRAIN, encoders, limit))
    if domains.available(data, NEGATIVES, TRAIN):
        found.append(domains.drawn_negatives(data, TRAIN, encoders, limit))
    return [domain for domain in found if len(domain)]


class TrainingSet(Dataset):
    """(view (3, size, size) uint8, image index). Keys are pairs of an image index and a seed.

    `plain`: views are the images cropped and mirrored, nothing else.
    DataError if a file is missing; a damaged one raises it when it is read.
    """

    def __init__(self, parts: Sequence[Domain], data: Path, size: int, repeat_threshold: float, plain: bool = False):
        self.plain = plain
        empty = min(MAX_EMPTY, math.ceil(EMPTY_SHARE * sum(map(len, parts))))
        self.size = size
        self.domains = [part.name for part in parts for _ in part.paths] + [EMPTY] * empty
        self.paths = [path for part in parts for path in part.paths]
        missing = next((path for path in self.paths if not path.is_file()), None)
        if missing:
            raise DataError(f"{missing} is missing; data_prep writes it")
        no_labels = {name: torch.zeros(empty, t.shape[1]) for name, t in parts[0].targets.items()}
        self.targets = concatenate_targets([*(part.targets for part in parts), no_labels])
        is_fashion = [part.is_fashion for part in parts for _ in part.paths] + [False] * empty
        self.is_fashion = torch.tensor(is_fashion, dtype=torch.float32)
        factors = [_factors(part, repeat_threshold) for part in parts]
        self.factors = torch.cat([*factors, torch.full((empty,), REPEATS[EMPTY])])
        textures = _Images(sorted((data / BACKGROUNDS / TRAIN).glob("*.jpg")))
        by_name = {part.name: _Images(part.paths) for part in parts}
        phone, everyday = by_name.get(PHONE, _Images([])), by_name.get(EVERYDAY, _Images([]))
        self.backgrounds = Backgrounds(textures, phone, everyday)
        self.empty_backgrounds = Backgrounds(textures, [], everyday)  # corners of phone photographs may show clothes

    def __len__(self) -> int:
        return len(self.domains)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, seed = key
        view = self.view(index, np.random.default_rng(seed))
        return torch.from_numpy(view).permute(2, 0, 1), index

    def view(self, index: int, random: np.random.Generator) -> np.ndarray:
        """(size, size, 3) uint8."""
        domain = self.domains[index]
        if domain == EMPTY:
            view = self.empty_backgrounds.draw(self.size, round(self.size * random.choice([0.75, 1])), random)
        elif self.plain:
            return self._plain_view(np.asarray(read_image(self.paths[index])), random)
        elif domain in CATALOGUE:
            view = self._catalogue_view(np.asarray(read_image(self.paths[index])), domain, random)
        else:
            view = self._photograph_view(np.asarray(read_image(self.paths[index])), random)
        return self._mirrored(degrade(view, random), random)

    def _mirrored(self, view: np.ndarray, random: np.random.Generator) -> np.ndarray:
        view = pad_to_square(view, self.size)
        return np.ascontiguousarray(view[:, ::-1]) if random.random() < 0.5 else np.ascontiguousarray(view)

    def _plain_view(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        view = random_crop(image, self.size, random, min_area=0.7, max_angle=0, border=cv2.BORDER_CONSTANT)
        return self._mirrored(view, random)

    def _photograph_view(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() < 0.1:
            image = np.ascontiguousarray(np.rot90(image, int(random.integers(1, 4))))
        view = random_crop(image, self.size, random, min_area=0.4, max_angle=14, border=cv2.BORDER_REFLECT_101)
        return jitter_illumination(view, random, strength=0.6) if random.random() < 0.6 else view

    def _catalogue_view(self, image: np.ndarray, domain: str, random: np.random.Generator) -> np.ndarray:
        if random.random() < PASTED and (product := cut_out(image, random)) is not None:
            view = paste_on_background(*product, self.backgrounds, self.size, random)
            return jitter_illumination(view, random, strength=0.7) if random.random() < 0.6 else view
        image = resize_and_recompress(image, random) if domain == THUMBNAILS else image
        view = random_crop(image, self.size, random, min_area=0.7, max_angle=6, border=cv2.BORDER_CONSTANT)
        return jitter_illumination(view, random, strength=0.5) if random.random() < 0.3 else view


class _Images(Sequence[np.ndarray]):
    """Images (H, W, 3) uint8, read when they are used."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(read_image(self.paths[index]))


def _factors(domain: Domain, repeat_threshold: float) -> torch.Tensor:
    """How often an epoch shows each image of the domain, (N,)."""
    factors = torch.full((len(domain),), REPEATS[domain.name])
    if domain.name in CATALOGUE:
        labels = torch.stack([t.argmax(dim=1) for t in domain.targets.values()], dim=1)
        factors *= repeat_factors(labels, repeat_threshold)
    return factors
