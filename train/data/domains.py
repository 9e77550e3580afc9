"""Domains: images of one kind with what is known of each, for training and for evaluation alike.

The data folder has each domain that data_prep has prepared; those that are missing are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_prep import negatives, phone_photographs, photographs
from data_prep.photographs import EVERYDAY, HIGH_RESOLUTION, ON_MODEL
from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.images import ImageError, open_image
from train.data.table import DataError

Targets = dict[str, torch.Tensor]  # attribute name → (N, classes) float32; a row of zeros where the label is unknown
THUMBNAILS = "thumbnails"
PHONE, NEGATIVES = phone_photographs.FOLDER, negatives.FOLDER


@dataclass
class Domain:
    """N images of one kind. A sequence of RGB photographs."""

    name: str
    paths: list[Path]
    targets: Targets  # a distribution over the accepted labels of each image
    is_fashion: bool = True
    groups: Sequence[str] = field(default_factory=list)  # (N,) images of one group are not independent

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """DataError if the file cannot be read."""
        return read_image(self.paths[index])

    def digest(self) -> str:
        """Of the file names and the targets."""
        found = hashlib.sha256("\n".join(path.name for path in self.paths).encode())
        for name in sorted(self.targets):
            found.update(self.targets[name].numpy().tobytes())
        return found.hexdigest()[:16]


def read_image(path: Path) -> Image.Image:
    """DataError if it cannot be read."""
    try:
        return open_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def thumbnails(data: Path, rows: pd.DataFrame, targets: Targets) -> Domain:
    """The catalogue's images of `rows`, 60×80 pixels as published."""
    return Domain(THUMBNAILS, [data / "images" / f"{i}.jpg" for i in rows["id"]], targets, groups=list(rows["group"]))


def high_resolution_rows(data: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` whose product has a high-resolution photograph."""
    folder = data / HIGH_RESOLUTION / "images"
    return rows[[(folder / f"{i}.jpg").is_file() for i in rows["id"]]]


def high_resolution(data: Path, rows: pd.DataFrame, targets: Targets) -> Domain:
    """The high-resolution photographs of `rows`, all of which have one."""
    folder = data / HIGH_RESOLUTION / "images"
    return Domain(HIGH_RESOLUTION, [folder / f"{i}.jpg" for i in rows["id"]], targets, groups=list(rows["group"]))


def phone(data: Path, split: str, encoders: LabelEncoders, limit: int | None = None) -> Domain:
    """Photographs that people took at home; a group is a contributor."""
    table = phone_table(data, split)[:limit]
    return _labelled(PHONE, table, data / PHONE / "images", encoders, table["sender"])


def on_model(data: Path, split: str, encoders: LabelEncoders, limit: int | None = None) -> Domain:
    """Studio photographs on models; a group is a style."""
    table = on_model_table(data, split)[:limit]
    return _labelled(ON_MODEL, table, data / ON_MODEL / "images", encoders, table["style"])


def everyday(data: Path, split: str, encoders: LabelEncoders, limit: int | None = None) -> Domain:
    """Everyday photographs without fashion products."""
    return _without_fashion(EVERYDAY, data / EVERYDAY / split, encoders, limit)


def drawn_negatives(data: Path, split: str, encoders: LabelEncoders, limit: int | None = None) -> Domain:
    """Screenshots, documents, charts, noise, blank images; in some splits photographs without fashion products too."""
    return _without_fashion(NEGATIVES, data / NEGATIVES / split, encoders, limit)


def available(data: Path, domain: str, split: str = "") -> bool:
    """Whether data_prep has prepared the domain."""
    return (data / domain / split).is_dir()


def phone_table(data: Path, split: str) -> pd.DataFrame:
    """The rows of the split; `image` is the file name. DataError if it is missing."""
    path = data / PHONE / phone_photographs.TABLE
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m data_prep.phone_photographs --output {data}` writes it")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["split"] == split].reset_index(drop=True)
    return table.assign(image=table["image"] + ".jpg")


def on_model_table(data: Path, split: str) -> pd.DataFrame:
    """The rows of the split. DataError if it is missing."""
    path = data / ON_MODEL / f"{ON_MODEL}.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m data_prep.photographs --on-model …` writes it")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[table["split"] == split].reset_index(drop=True)


def label_targets(rows: pd.DataFrame, attributes: Sequence[Attribute], encoders: LabelEncoders) -> Targets:
    """The labels of the cleaned table as targets; labels that the encoders lack are unknown."""
    return {a.name: accepted_targets(rows[a.column], encoders.labels[a.name]) for a in attributes}


def accepted_targets(column: Sequence[str], labels: Sequence[str]) -> torch.Tensor:
    """(N, classes) from accepted labels separated by `|`, best first: each has half the weight of the one before."""
    index = {label: i for i, label in enumerate(labels)}
    targets = torch.zeros(len(column), len(labels))
    for row, names in zip(targets, column, strict=True):
        known = [index[name] for name in names.split("|") if name in index]
        for place, label in enumerate(known):
            row[label] = 0.5**place
    return targets / targets.sum(dim=1, keepdim=True).clamp(min=1e-9)


def no_targets(count: int, encoders: LabelEncoders) -> Targets:
    """All labels unknown."""
    return {name: torch.zeros(count, classes) for name, classes in encoders.num_classes.items()}


def concatenate_targets(parts: Sequence[Mapping[str, torch.Tensor]]) -> Targets:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def subset(domain: Domain, rows: np.ndarray) -> Domain:
    """The images at the indices, or where a bool mask is True."""
    indices = np.flatnonzero(rows) if rows.dtype == bool else rows
    return Domain(
        domain.name,
        [domain.paths[i] for i in indices],
        {name: t[torch.from_numpy(indices)] for name, t in domain.targets.items()},
        domain.is_fashion,
        [domain.groups[i] for i in indices],
    )


def _labelled(name: str, table: pd.DataFrame, folder: Path, encoders: LabelEncoders, groups: Sequence[str]) -> Domain:
    """From a table whose column `colors` has the accepted labels of attribute `color`, and so on."""
    targets = {
        attribute: accepted_targets(table[f"{attribute}s"], labels)
        if f"{attribute}s" in table
        else torch.zeros(len(table), len(labels))
        for attribute, labels in encoders.labels.items()
    }
    return Domain(name, [folder / image for image in table["image"]], targets, groups=list(groups))


def _without_fashion(name: str, folder: Path, encoders: LabelEncoders, limit: int | None) -> Domain:
    """DataError if the folder has no images."""
    paths = sorted(folder.glob("*.jpg"))[:limit]
    if not paths:
        raise DataError(f"{folder} has no images; data_prep writes them")
    groups = [photographs.source_group(path.name) for path in paths]
    return Domain(name, paths, no_targets(len(paths), encoders), is_fashion=False, groups=groups)
