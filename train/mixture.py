"""What an epoch of training is made of: pictures of every kind there are in the data folder, and a view of each."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from data_prep.more_pictures import BACKGROUNDS, EVERYDAY, ON_MODEL, SHARP
from data_prep.other_pictures import FOLDER as OTHER
from data_prep.phone_photographs import FOLDER as PHONE
from data_prep.splits import TRAIN
from fashion_model.attributes import LabelEncoders
from train.augment import Grounds, composite, cut_out, degraded, framed, on_white, relit, resampled
from train.dataset import DecodedPhotographs, repeat_factors
from train.pictures import (
    THUMBNAILS,
    Pictures,
    Targets,
    catalogue_pictures,
    joined_targets,
    label_targets,
    labelled_pictures,
    no_targets,
    on_model_table,
    phone_table,
    pictures_in,
)

EMPTY = "empty"  # a ground with nothing on it
DRAWN = "drawn"  # screenshots, documents, charts, noise, blanks
CATALOGUE = (THUMBNAILS, SHARP)
# How often an epoch shows each picture of a kind. People's photographs come first, then sharp ones.
REPEATS = {THUMBNAILS: 0.75, SHARP: 1.5, PHONE: 3.0, ON_MODEL: 1.5, EVERYDAY: 3.0, DRAWN: 3.0, EMPTY: 1.0}
EMPTY_GROUNDS, EMPTY_SHARE = 600, 0.02  # at most so many, and for one picture at most so many
COMPOSITES = 0.5  # share of the catalogue's views that put the product before another ground


def training_pictures(
    data: Path, rows: pd.DataFrame, encoders: LabelEncoders, soft: Targets | None, weight: float, limit: int | None
) -> list[Pictures]:
    """Every kind of picture that `data` has for training; what data_prep has not prepared is left out.

    `rows`: the cleaned table's of the training split. `soft`: for each of them another network's answers, which get
    `weight` of the target, the label having the rest. `limit`: of the other kinds, at most so many pictures.
    """
    labels = label_targets(rows, encoders)
    mixed = labels if soft is None else {n: weight * soft[n] + (1 - weight) * labels[n] for n in labels}
    found = catalogue_pictures(data, rows, mixed)
    if found[-1].kind == SHARP:
        found[-1].targets["season"] = _balanced(found[-1].targets["season"], mixed["season"])
    if (data / PHONE).is_dir():
        found.append(labelled_pictures(PHONE, phone_table(data, TRAIN)[:limit], data / PHONE / "images", encoders))
    if (data / ON_MODEL).is_dir():
        table = on_model_table(data, TRAIN)[:limit]
        found.append(labelled_pictures(ON_MODEL, table, data / ON_MODEL / "images", encoders))
    if (data / EVERYDAY).is_dir():
        found.append(pictures_in(EVERYDAY, data / EVERYDAY / TRAIN, encoders, fashion=0.0, limit=limit))
    if (data / OTHER / TRAIN).is_dir():
        found.append(pictures_in(DRAWN, data / OTHER / TRAIN, encoders, fashion=0.0, limit=limit))
    return found


def _balanced(targets: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Targets (N, classes), each row times a weight, so that the shares of the classes become those of `reference`
    (M, classes). Else a class that is frequent among sharp photographs would be recognised by their sharpness."""
    of_class = torch.ones(targets.shape[1])
    for _ in range(100):  # iterative proportional fitting
        shares = (targets * (targets @ of_class)[:, None]).mean(dim=0)
        of_class *= reference.mean(dim=0) / shares.clamp(min=1e-9)
    return targets * (targets @ of_class)[:, None]


class Mixture(Dataset):
    """(view (3, size, size) uint8, index) of the training pictures, each view drawn anew.

    Its keys are pairs of an index and a seed.
    """

    def __init__(self, parts: list[Pictures], data: Path, encoders: LabelEncoders, size: int, rare: float):
        grounds = min(EMPTY_GROUNDS, math.ceil(EMPTY_SHARE * sum(map(len, parts))))
        empty = Pictures(EMPTY, [], no_targets(grounds, encoders), fashion=0.0)
        self.size = size
        self.kinds = [part.kind for part in parts for _ in part.paths] + [EMPTY] * grounds
        self.photographs = DecodedPhotographs([path for part in parts for path in part.paths], data / "decoded")
        self.targets = joined_targets([part.targets for part in (*parts, empty)])
        self.fashion = torch.tensor([p.fashion for p in parts for _ in p.paths] + [empty.fashion] * grounds)
        self.factors = torch.cat([self._factors(parts, rare), torch.full((grounds,), REPEATS[EMPTY])])
        backgrounds = data / BACKGROUNDS / TRAIN
        names = sorted(backgrounds.glob("*.jpg")) if backgrounds.is_dir() else []
        textures = DecodedPhotographs(names, data / "decoded") if names else []
        self.grounds = Grounds(textures, self._of_kind(PHONE), self._of_kind(EVERYDAY))
        self.empty_grounds = Grounds(textures, [], self._of_kind(EVERYDAY))  # a corner may show cloth

    def __len__(self) -> int:
        return len(self.kinds)

    def _factors(self, parts: list[Pictures], rare: float) -> torch.Tensor:
        """How often each picture of `parts` is shown in an epoch, (N,)."""
        found = [torch.full((len(part.paths),), REPEATS[part.kind]) for part in parts]
        for part, factors in zip(parts, found, strict=True):
            if part.kind in CATALOGUE:
                factors *= repeat_factors(torch.stack([t.argmax(dim=1) for t in part.targets.values()], dim=1), rare)
        return torch.cat(found)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, seed = key
        view = self.view(index, np.random.default_rng(seed))
        return torch.from_numpy(view).permute(2, 0, 1), index

    def view(self, index: int, random: np.random.Generator) -> np.ndarray:
        """(size, size, 3) uint8."""
        kind = self.kinds[index]
        if kind == EMPTY:
            view = self.empty_grounds.draw(self.size, round(self.size * random.choice([0.75, 1])), random)
        elif kind in CATALOGUE:
            view = self._of_catalogue(np.asarray(self.photographs[index]), kind, random)
        else:
            picture = np.asarray(self.photographs[index])
            if random.random() < 0.1:
                picture = np.ascontiguousarray(np.rot90(picture, int(random.integers(1, 4))))
            view = framed(picture, self.size, random, smallest=0.4, tilt=14, border=cv2.BORDER_REFLECT_101)
            view = relit(view, random, strength=0.6) if random.random() < 0.6 else view
        view = on_white(degraded(view, random), self.size)
        return np.ascontiguousarray(view[:, ::-1]) if random.random() < 0.5 else np.ascontiguousarray(view)

    def _of_catalogue(self, picture: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
        if random.random() < COMPOSITES and (product := cut_out(picture, random)) is not None:
            view = composite(*product, self.grounds, self.size, random)
            return relit(view, random, strength=0.7) if random.random() < 0.6 else view
        picture = resampled(picture, random) if kind == THUMBNAILS else picture
        view = framed(picture, self.size, random, smallest=0.7, tilt=6, border=cv2.BORDER_CONSTANT)
        return relit(view, random, strength=0.5) if random.random() < 0.3 else view

    def _of_kind(self, kind: str) -> Slice:
        if kind not in self.kinds:
            return Slice(self.photographs, 0, 0)
        first = self.kinds.index(kind)
        return Slice(self.photographs, first, first + self.kinds.count(kind))


class Slice:
    """Some neighbouring photographs of a sequence."""

    def __init__(self, photographs: DecodedPhotographs, first: int, end: int):
        self.photographs, self.first, self.end = photographs, first, end

    def __len__(self) -> int:
        return self.end - self.first

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.photographs[self.first + int(index)])
