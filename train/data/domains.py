"""Domains: images of one kind with what is known of each, for training and for evaluation alike.

`DOMAINS` is the registry; domains that data_prep has not prepared are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_prep.phone_photographs import PHONE
from data_prep.photographs import EVERYDAY, HELD_OUT_TYPES, HIGH_RESOLUTION, ON_MODEL, source_group
from data_prep.street_photographs import WORN
from data_prep.tables import accepted_labels
from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.figures import SHOWN
from fashion_model.images import ImageError, open_image
from fashion_model.preprocessing import CROP_MARGIN
from train.data.table import CATEGORY, DataError

Targets = dict[str, torch.Tensor]  # attribute name → (N, classes) float32; a row of zeros where the label is unknown
THUMBNAILS = "thumbnails"
CATALOGUE = (THUMBNAILS, HIGH_RESOLUTION)
PEOPLE, STREETS = "people", "streets"  # whole street photographs, and their parts without products
OTHER, OTHER_EMPTY = "other_sources", "other_sources_without_products"
PERSON = ("null", "skin", "hair")  # tags of street photographs that are no product
CLOTHES = ("Apparel", "Footwear")  # masterCategory; the catalogue's other products are accessories and the like
# Tags of worn accessories.
ACCESSORIES = (
    *("accessories", "bag", "belt", "bracelet", "earrings", "glasses", "gloves", "hat", "necklace", "purse", "ring"),
    *("scarf", "socks", "sunglasses", "tie", "wallet", "watch"),
)


@dataclass
class Domain:
    """N images of one kind. A sequence of RGB images, cropped where there are boxes."""

    name: str
    paths: list[Path]
    targets: Targets  # a distribution over the accepted labels of each image
    is_fashion: bool = True
    groups: Sequence[str] = field(default_factory=list)  # (N,) images of one group are not independent
    boxes: np.ndarray | None = None  # (N, 4) left, top, right, bottom as parts of the photograph's width and height
    accessories: np.ndarray | None = None  # (N,) bool; None if that is not known
    tags: np.ndarray | None = None  # (N,) what each box has in the photograph's mask

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """DataError if the file cannot be read."""
        image = read_image(self.paths[index])
        if self.boxes is None:
            return image
        box = with_margins(self.boxes[index], CROP_MARGIN).clip(0, 1) * np.tile(image.size, 2)
        left, top, right, bottom = map(round, box.tolist())
        return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))

    def digest(self) -> str:
        """A digest of what decides the views; files exchanged for others of the same names and sizes are not seen."""
        sizes = (path.stat().st_size if path.is_file() else None for path in self.paths)
        files = (f"{path.name} {size}" for path, size in zip(self.paths, sizes, strict=True))
        content = hashlib.sha256("\n".join(files).encode())
        if self.boxes is not None:
            content.update(self.boxes.astype("<f8").tobytes())
        if self.accessories is not None:
            content.update(self.accessories.tobytes())
        if self.tags is not None:
            content.update("\n".join(self.tags).encode())
        for name in sorted(self.targets):
            content.update(self.targets[name].numpy().tobytes())
        return content.hexdigest()[:16]

    def subset(self, rows: np.ndarray) -> Domain:
        """The images at the indices, or where a bool mask is True."""
        indices = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Domain(
            self.name,
            [self.paths[i] for i in indices],
            {name: t[torch.from_numpy(indices)] for name, t in self.targets.items()},
            self.is_fashion,
            [self.groups[i] for i in indices],
            *(None if x is None else x[indices] for x in (self.boxes, self.accessories, self.tags)),
        )


@dataclass(frozen=True)
class Split:
    """What the images of a split are read from."""

    data: Path  # the folder that data_prep wrote
    name: str  # train, validation or test
    rows: pd.DataFrame  # of the cleaned table
    attributes: tuple[Attribute, ...]
    encoders: LabelEncoders
    limit: int | None = None  # images of each domain


@dataclass(frozen=True)
class DomainKind:
    """An entry of the registry."""

    name: str
    title: str  # in tables
    folder: str  # in the data folder
    load: Callable[[DomainKind, Split], Domain]  # called if the folder is there
    share: float = 0.0  # of an epoch's views; 0 for domains that are never trained on
    calibration_weight: float = 0.0  # in the loss that temperatures minimize
    is_fashion: bool = True

    def domain(self, paths: Sequence[Path], targets: Targets, groups: Iterable[str]) -> Domain:
        return Domain(self.name, list(paths), targets, self.is_fashion, list(groups))


def load_catalogue(kind: DomainKind, split: Split) -> Domain:
    """Thumbnails of 60×80 pixels as published, or larger photographs of those products that have one."""
    folder, rows, labels = split.data / kind.folder / "images", split.rows, split.encoders.labels
    if kind.name != THUMBNAILS:
        rows = rows[[(folder / f"{i}.jpg").is_file() for i in rows["id"]]]
    targets = {a.name: accepted_targets(rows[a.column], labels[a.name]) for a in split.attributes}
    domain = kind.domain([folder / f"{i}.jpg" for i in rows["id"]], targets, rows["group"])
    if rows[CATEGORY].any():
        domain.accessories = ~rows[CATEGORY].isin(CLOTHES).to_numpy()
    return domain


def load_labelled(kind: DomainKind, split: Split) -> Domain:
    """From a table whose column `colors` has the accepted labels of attribute `color`, and so on.

    A group is a contributor, one or more photographs of one person, a style, or a picture.
    """
    table = table_of(split.data, kind.folder, split.name)
    if kind.folder == OTHER:  # pictures with a product or without one
        table = table[(table["product_types"] != "") == kind.is_fashion]
    table = table[: split.limit]
    targets = no_targets(len(table), split.encoders)
    for name in targets:
        if f"{name}s" in table:
            targets[name] = accepted_targets(table[f"{name}s"], split.encoders.labels[name])
    group = next(column for column in ("sender", "shoot", "style", "image") if column in table)
    files = "photographs/" + table["photo"] if kind.name == WORN else "images/" + table["image"]
    files = files + ".jpg" if kind.name == PHONE else files
    domain = kind.domain([split.data / kind.folder / file for file in files], targets, table[group])
    if kind.name == WORN:
        domain.boxes = table[["left", "top", "right", "bottom"]].to_numpy(dtype=np.float64)
        domain.tags = table["tag"].to_numpy()
        domain.accessories = np.isin(domain.tags, ACCESSORIES)
    if kind.name == ON_MODEL:
        domain.accessories = table["type"].isin(HELD_OUT_TYPES).to_numpy()
    return domain


def load_street_photographs(kind: DomainKind, split: Split) -> Domain:
    """Whole photographs, which show several products: no attribute is known. Training takes parts of `STREETS`."""
    table = table_of(split.data, kind.folder, split.name).drop_duplicates("photo")[: split.limit]
    paths = [split.data / kind.folder / "photographs" / photo for photo in table["photo"]]
    return kind.domain(paths, no_targets(len(paths), split.encoders), table["shoot"])


def load_everyday(kind: DomainKind, split: Split) -> Domain:
    """A group is the photographs of one source."""
    paths = sorted((split.data / kind.folder / split.name).glob("*.jpg"))[: split.limit]
    return kind.domain(paths, no_targets(len(paths), split.encoders), [source_group(path.name) for path in paths])


DOMAINS = (
    DomainKind(THUMBNAILS, "catalogue thumbnails", ".", load_catalogue, 0.2, 1.0),
    DomainKind(HIGH_RESOLUTION, "catalogue photographs", HIGH_RESOLUTION, load_catalogue, 0.22, 1.0),
    DomainKind(PHONE, SHOWN[PHONE], PHONE, load_labelled, 0.17, 3.0),
    DomainKind(WORN, SHOWN[WORN], WORN, load_labelled, 0.18, 3.0),
    DomainKind(ON_MODEL, "clothes on models, bags and watches, in a studio", ON_MODEL, load_labelled, 0.02),
    DomainKind(PEOPLE, "people in the street", WORN, load_street_photographs, 0.01),
    DomainKind(
        STREETS, "parts of street photographs without products", WORN, load_street_photographs, 0.03, is_fashion=False
    ),
    DomainKind(EVERYDAY, SHOWN[EVERYDAY], EVERYDAY, load_everyday, 0.13, is_fashion=False),
    DomainKind(OTHER, "products in pictures of six other sources", OTHER, load_labelled),
    DomainKind(OTHER_EMPTY, "pictures of these sources without products", OTHER, load_labelled, is_fashion=False),
)
TITLES = {kind.name: kind.title for kind in DOMAINS}


def load_domains(split: Split, names: Collection[str]) -> list[Domain]:
    """Those of `names` that the data folder has images of, in the registry's order."""
    kinds = [kind for kind in DOMAINS if kind.name in names and (split.data / kind.folder).is_dir()]
    return [domain for kind in kinds if len(domain := kind.load(kind, split))]


def read_image(path: Path) -> Image.Image:
    """DataError if it cannot be read."""
    try:
        return open_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def with_margins(box: np.ndarray, margins: np.ndarray | float) -> np.ndarray:
    """Boxes (…, 4), larger by parts of their width and height: margins (…, 4) of left, top, right, bottom, or one."""
    width, height = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
    return box + margins * np.stack([-width, -height, width, height], axis=-1)


def table_of(data: Path, name: str, split: str) -> pd.DataFrame:
    """The rows of the split in `data`/NAME/NAME.csv. DataError if it is missing."""
    path = data / name / f"{name}.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing; data_prep writes it")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[table["split"] == split].reset_index(drop=True)


def accepted_targets(column: Sequence[str], labels: Sequence[str]) -> torch.Tensor:
    """(N, classes) from the accepted labels in each cell, best first: each has half the weight of the one before.

    A label that is not among `labels` is left out; a row without any is zeros.
    """
    index = {label: i for i, label in enumerate(labels)}
    targets = torch.zeros(len(column), len(labels))
    for row, cell in zip(targets, column, strict=True):
        known = [index[label] for label in accepted_labels(cell) if label in index]
        for rank, label in enumerate(known):
            row[label] = 0.5**rank
    return targets / targets.sum(dim=1, keepdim=True).clamp(min=1e-9)


def no_targets(count: int, encoders: LabelEncoders) -> Targets:
    """All labels unknown."""
    return {name: torch.zeros(count, classes) for name, classes in encoders.num_classes.items()}
