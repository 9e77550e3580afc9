"""The pictures to train and measure on, decoded, with a distribution over the classes of each attribute as target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from data_prep import more_pictures, phone_photographs
from data_prep.more_pictures import SHARP
from fashion_model.attributes import NAMES, LabelEncoders, attribute_named
from fashion_model.images import ImageError, open_image
from train.dataset import DataError

Targets = dict[str, torch.Tensor]  # attribute → (N, classes) float32; a row of zeros where nothing is known
ACCEPTED = {"color": "colors", "product_type": "product_types", "gender": "genders"}  # attribute → column
UNKNOWN = "?"
THUMBNAILS = "thumbnails"


@dataclass
class Pictures:
    """Pictures of one kind: `paths` and what is known of each."""

    kind: str
    paths: list[Path]
    targets: Targets
    fashion: float = 1.0  # whether they show a fashion product

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """See `read_picture`."""
        return read_picture(self.paths[index])

    def digest(self) -> str:
        """Of the names and what is known of them."""
        found = hashlib.sha256("\n".join(path.name for path in self.paths).encode())
        for name in sorted(self.targets):
            found.update(self.targets[name].numpy().tobytes())
        return found.hexdigest()[:16]


def read_picture(path: Path) -> Image.Image:
    """DataError if it cannot be read."""
    try:
        return open_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def catalogue_pictures(data: Path, rows: pd.DataFrame, targets: Targets) -> list[Pictures]:
    """The thumbnails of `rows`, and their sharp photographs if any, with the targets (rows, classes)."""
    found = [Pictures(THUMBNAILS, [data / "images" / f"{i}.jpg" for i in rows["id"]], targets)]
    paths = [data / SHARP / "images" / f"{i}.jpg" for i in rows["id"]]
    order = [n for n, path in enumerate(paths) if path.is_file()]
    if order:
        found.append(Pictures(SHARP, [paths[n] for n in order], {name: t[order] for name, t in targets.items()}))
    return found


def label_targets(rows: pd.DataFrame, encoders: LabelEncoders) -> Targets:
    """One label an attribute, from the columns of the cleaned table."""
    columns = {name: rows[attribute_named(name).column] for name in NAMES}
    return {name: accepted_targets(columns[name], encoders.labels[name]) for name in NAMES}


def accepted_targets(column: Sequence[str], labels: Sequence[str]) -> torch.Tensor:
    """(N, classes) from names, best first, `|` between: each has half the weight of the one before.

    Names that are no label are passed over.
    """
    index = {label: i for i, label in enumerate(labels)}
    targets = torch.zeros(len(column), len(labels))
    for row, names in zip(targets, column, strict=True):
        known = [index[name] for name in names.split("|") if name in index]
        for place, label in enumerate(known):
            row[label] = 0.5**place
    return targets / targets.sum(dim=1, keepdim=True).clamp(min=1e-9)


def labelled_pictures(kind: str, table: pd.DataFrame, folder: Path, encoders: LabelEncoders) -> Pictures:
    """Those of a table with the columns of `ACCEPTED` and `image`, the name of a file in `folder`."""
    targets = {n: accepted_targets(table[column], encoders.labels[n]) for n, column in ACCEPTED.items()}
    targets["season"] = torch.zeros(len(table), len(encoders.labels["season"]))
    return Pictures(kind, [folder / name for name in table["image"]], targets)


def phone_table(data: Path, split: str) -> pd.DataFrame:
    """The rows of the split, `image` with its ending. DataError if data_prep.phone_photographs has not been run."""
    path = data / phone_photographs.FOLDER / phone_photographs.TABLE
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m data_prep.phone_photographs --output {data}` writes it")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["split"] == split].reset_index(drop=True)
    return table.assign(image=table["image"] + ".jpg")


def on_model_table(data: Path, split: str) -> pd.DataFrame:
    path = data / more_pictures.ON_MODEL / f"{more_pictures.ON_MODEL}.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m data_prep.more_pictures --on-model …` writes it")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[table["split"] == split].reset_index(drop=True)


def pictures_in(kind: str, folder: Path, encoders: LabelEncoders, fashion: float, limit: int | None = None) -> Pictures:
    """Those of a folder, at most `limit`, with no label known. DataError if there are none."""
    paths = sorted(folder.glob("*.jpg"))[:limit]
    if not paths:
        raise DataError(f"{folder} holds no pictures; `python -m data_prep.more_pictures` writes them")
    return Pictures(kind, paths, no_targets(len(paths), encoders), fashion)


def no_targets(count: int, encoders: LabelEncoders) -> Targets:
    return {name: torch.zeros(count, len(encoders.labels[name])) for name in NAMES}


def joined_targets(parts: Sequence[Mapping[str, torch.Tensor]]) -> Targets:
    return {name: torch.cat([part[name] for part in parts]) for name in NAMES}
