"""Domains: images of one kind with what is known of each, for training and for evaluation alike.

`DOMAINS` is the registry. The data folder has each domain that data_prep has prepared; those that are missing are left
out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_prep.phone_photographs import PHONE
from data_prep.photographs import EVERYDAY, HELD_OUT_TYPES, HIGH_RESOLUTION, ON_MODEL, source_group
from data_prep.street_photographs import WORN
from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.images import ImageError, open_image
from train.data.table import CATEGORY, DataError

Targets = dict[str, torch.Tensor]  # attribute name → (N, classes) float32; a row of zeros where the label is unknown
THUMBNAILS = "thumbnails"
PEOPLE, STREETS = "people", "streets"  # whole street photographs, and their parts without products
OTHER, OTHER_EMPTY = "other_sources", "other_sources_without_products"
PERSON = ("null", "skin", "hair")  # tags of street photographs that are no product
CROP_MARGIN = 0.2  # of the box's width and height on each side, where a crop is measured or shown
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
        left, top, right, bottom = with_margins(self.boxes[index], np.full(4, CROP_MARGIN)).clip(0, 1)
        width, height = image.size
        return image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))

    def digest(self) -> str:
        """Of the file names, boxes and targets."""
        content = hashlib.sha256("\n".join(path.name for path in self.paths).encode())
        if self.boxes is not None:
            content.update(self.boxes.astype("<f8").tobytes())
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


class Images(Sequence[np.ndarray]):
    """Images (H, W, 3) uint8, read when they are used."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(read_image(self.paths[index]))


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
    share: float  # of an epoch's views; 0 for domains that are never trained on
    load: Callable[[Split], Domain | None]  # None if the data folder lacks it
    calibration_weight: float = 0.0  # in the loss that temperatures minimize


def read_image(path: Path) -> Image.Image:
    """DataError if it cannot be read."""
    try:
        return open_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def with_margins(box: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Boxes (…, 4), larger by parts of their width and height: margins (…, 4) of left, top, right, bottom."""
    width, height = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
    return box + margins * np.stack([-width, -height, width, height], axis=-1)


def load_thumbnails(split: Split) -> Domain:
    """The catalogue's images, 60×80 pixels as published."""
    return _catalogue(THUMBNAILS, split, split.rows, split.data / "images")


def load_high_resolution(split: Split) -> Domain | None:
    """Photographs of the same products, for those that have one."""
    folder = split.data / HIGH_RESOLUTION / "images"
    rows = split.rows[[(folder / f"{i}.jpg").is_file() for i in split.rows["id"]]]
    return _catalogue(HIGH_RESOLUTION, split, rows, folder) if len(rows) else None


def load_phone(split: Split) -> Domain | None:
    """Photographs that people took at home; a group is a contributor."""
    table = table_of(split.data, PHONE, split.name)[: split.limit]
    return _labelled(PHONE, split, table, "sender", f"{PHONE}/images", ".jpg") if len(table) else None


def load_worn(split: Split) -> Domain | None:
    """What people in the street wear, cropped; a group is a photograph or the photographs of one person."""
    table = table_of(split.data, WORN, split.name)[: split.limit]
    if table.empty:
        return None
    domain = _labelled(WORN, split, table.rename(columns={"photo": "image"}), "shoot", f"{WORN}/photographs")
    domain.boxes = table[["left", "top", "right", "bottom"]].to_numpy(dtype=np.float64)
    domain.tags = table["tag"].to_numpy()
    domain.accessories = np.isin(domain.tags, ACCESSORIES)
    return domain


def load_on_model(split: Split) -> Domain | None:
    """Studio photographs on models; a group is a style."""
    table = table_of(split.data, ON_MODEL, split.name)[: split.limit]
    if table.empty:
        return None
    domain = _labelled(ON_MODEL, split, table, "style", f"{ON_MODEL}/images")
    domain.accessories = table["type"].isin(HELD_OUT_TYPES).to_numpy()
    return domain


def load_people(split: Split) -> Domain | None:
    """Whole street photographs, which show several products: no attribute is known."""
    return _street_photographs(PEOPLE, split, is_fashion=True)


def load_streets(split: Split) -> Domain | None:
    """The same photographs; training takes parts without products of them."""
    return _street_photographs(STREETS, split, is_fashion=False)


def load_everyday(split: Split) -> Domain | None:
    """Everyday photographs without fashion products."""
    paths = sorted((split.data / EVERYDAY / split.name).glob("*.jpg"))[: split.limit]
    groups = [source_group(path.name) for path in paths]
    nothing = no_targets(len(paths), split.encoders)
    return Domain(EVERYDAY, paths, nothing, is_fashion=False, groups=groups) if paths else None


def load_other(split: Split) -> Domain | None:
    """Pictures of sources that no training sees; a group is a picture."""
    return _other_sources(OTHER, split, is_fashion=True)


def load_other_empty(split: Split) -> Domain | None:
    """Pictures of the same sources that show no product."""
    return _other_sources(OTHER_EMPTY, split, is_fashion=False)


DOMAINS = (
    DomainKind(THUMBNAILS, "catalogue thumbnails", 0.2, load_thumbnails, 1.0),
    DomainKind(HIGH_RESOLUTION, "catalogue photographs", 0.22, load_high_resolution, 1.0),
    DomainKind(PHONE, "clothes, shoes and hats, taken with phones at home", 0.17, load_phone, 3.0),
    DomainKind(WORN, "products worn by people in the street, cropped", 0.18, load_worn, 3.0),
    DomainKind(ON_MODEL, "clothes on models, bags and watches, in a studio", 0.02, load_on_model),
    DomainKind(PEOPLE, "people in the street", 0.01, load_people),
    DomainKind(STREETS, "parts of street photographs without products", 0.03, load_streets),
    DomainKind(EVERYDAY, "everyday photographs without fashion products", 0.13, load_everyday),
    DomainKind(OTHER, "products in pictures of six other sources", 0.0, load_other),
    DomainKind(OTHER_EMPTY, "pictures of these sources without products", 0.0, load_other_empty),
)
TITLES = {kind.name: kind.title for kind in DOMAINS}


def load_domains(split: Split, names: Sequence[str]) -> list[Domain]:
    """Those of `names` that the data folder has images of, in the registry's order."""
    loaded = (kind.load(split) for kind in DOMAINS if kind.name in names)
    return [domain for domain in loaded if domain is not None]


def table_of(data: Path, name: str, split: str) -> pd.DataFrame:
    """`data`/NAME/NAME.csv, the rows of the split; no rows if the folder is missing. DataError if only the table is."""
    path = data / name / f"{name}.csv"
    if not path.parent.is_dir():
        return pd.DataFrame(columns=["split", "image", "product_types"])
    if not path.is_file():
        raise DataError(f"{path} is missing; data_prep writes it")
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


def _catalogue(name: str, split: Split, rows: pd.DataFrame, folder: Path) -> Domain:
    return Domain(
        name,
        [folder / f"{i}.jpg" for i in rows["id"]],
        label_targets(rows, split.attributes, split.encoders),
        groups=list(rows["group"]),
        accessories=~rows[CATEGORY].isin(CLOTHES).to_numpy() if rows[CATEGORY].any() else None,
    )


def _labelled(name: str, split: Split, table: pd.DataFrame, group: str, folder: str, suffix: str = "") -> Domain:
    """From a table whose column `colors` has the accepted labels of attribute `color`, and so on."""
    targets = {
        attribute: accepted_targets(table[f"{attribute}s"], labels)
        if f"{attribute}s" in table
        else torch.zeros(len(table), len(labels))
        for attribute, labels in split.encoders.labels.items()
    }
    paths = [split.data / folder / f"{image}{suffix}" for image in table["image"]]
    return Domain(name, paths, targets, groups=list(table[group]))


def _other_sources(name: str, split: Split, is_fashion: bool) -> Domain | None:
    table = table_of(split.data, OTHER, split.name)
    table = table[(table["product_types"] != "") == is_fashion].reset_index(drop=True)[: split.limit]
    if table.empty:
        return None
    domain = _labelled(name, split, table, "image", f"{OTHER}/images")
    domain.is_fashion = is_fashion
    return domain


def _street_photographs(name: str, split: Split, is_fashion: bool) -> Domain | None:
    table = table_of(split.data, WORN, split.name)
    if table.empty:
        return None
    table = table.drop_duplicates("photo")[: split.limit]
    paths = [split.data / WORN / "photographs" / photo for photo in table["photo"]]
    return Domain(name, paths, no_targets(len(paths), split.encoders), is_fashion, list(table["shoot"]))
