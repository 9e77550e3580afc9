"""The domains a split is measured on: those of the data folder, and perturbed and pasted catalogue images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_prep.photographs import BACKGROUNDS, EVERYDAY, HIGH_RESOLUTION, ON_MODEL
from fashion_model.attributes import Attribute, LabelEncoders
from train.data import domains
from train.data.augmentation import Backgrounds, paste_on_background
from train.data.domains import NEGATIVES, PHONE, Domain, label_targets, phone_table, read_image, subset
from train.data.foreground import cut_out, product_mask
from train.data.table import CATEGORY
from train.evaluate.perturbations import COPIES, NEED_MASK, PERTURBATIONS, Perturbation

PASTED = "pasted"
PASTED_SIDE = 384  # pixels
PHOTOGRAPHED = ("Apparel", "Footwear")  # masterCategory of the products that people's photographs show


def evaluation_domains(
    data: Path, split: str, rows: pd.DataFrame, attributes: Sequence[Attribute], encoders: LabelEncoders
) -> list[Domain]:
    """Every domain that `data` has for the split. `rows`: those of the cleaned table that may be measured on."""
    found = [domains.thumbnails(data, rows, label_targets(rows, attributes, encoders))]
    photographed = domains.high_resolution_rows(data, rows)
    if len(photographed):
        high_resolution = domains.high_resolution(data, photographed, label_targets(photographed, attributes, encoders))
        found += [high_resolution, *_perturbed(high_resolution)]
    if domains.available(data, PHONE):
        found.append(domains.phone(data, split, encoders))
    if domains.available(data, ON_MODEL):
        found.append(domains.on_model(data, split, encoders))
    if domains.available(data, BACKGROUNDS, split):
        found.append(_pasted(data, split, rows, attributes, encoders))
    if domains.available(data, EVERYDAY, split):
        found.append(domains.everyday(data, split, encoders))
    if domains.available(data, NEGATIVES, split):
        found.append(domains.drawn_negatives(data, split, encoders))
    return [domain for domain in found if len(domain)]


@dataclass
class Perturbed(Domain):
    """High-resolution photographs, perturbed when they are read."""

    perturb: Perturbation | None = None

    def __getitem__(self, index: int) -> Image.Image:
        assert self.perturb is not None
        return self.perturb(read_image(self.paths[index]), int(self.paths[index].stem))


def _perturbed(domain: Domain) -> list[Perturbed]:
    masked = subset(domain, np.array([product_mask(image) is not None for image in domain]))
    return [
        Perturbed(name, part.paths, part.targets, True, part.groups, perturb)
        for name, perturb in (COPIES | PERTURBATIONS).items()
        for part in [masked if name in NEED_MASK else domain]
        if len(part)
    ]


@dataclass
class Pasted(Domain):
    """Products of the catalogue, pasted on backgrounds of the split; always the same background for a product."""

    backgrounds: Backgrounds | None = None

    def __getitem__(self, index: int) -> Image.Image:
        product = int(self.paths[index].stem)
        image, alpha = cut_out(np.asarray(read_image(self.paths[index])), np.random.default_rng(product))
        view = paste_on_background(image, alpha, self.backgrounds, PASTED_SIDE, np.random.default_rng(product))
        return Image.fromarray(view)


def _pasted(
    data: Path, split: str, rows: pd.DataFrame, attributes: Sequence[Attribute], encoders: LabelEncoders
) -> Pasted:
    """Products that no photograph of people shows, as far as they can be separated from their background."""
    rows = rows[~rows[CATEGORY].isin(PHOTOGRAPHED)]
    high_resolution = data / HIGH_RESOLUTION / "images"
    paths = [
        path if (path := high_resolution / f"{i}.jpg").is_file() else data / "images" / f"{i}.jpg" for i in rows["id"]
    ]
    usable = [
        cut_out(np.asarray(read_image(path)), np.random.default_rng(int(path.stem))) is not None for path in paths
    ]
    rows = rows[usable]
    textures = [np.asarray(read_image(path)) for path in sorted((data / BACKGROUNDS / split).glob("*.jpg"))]
    photographs = []
    if domains.available(data, PHONE):
        photographs = [
            np.asarray(read_image(data / PHONE / "images" / name)) for name in phone_table(data, split)["image"]
        ]
    return Pasted(
        PASTED,
        [path for path, use in zip(paths, usable, strict=True) if use],
        label_targets(rows, attributes, encoders),
        groups=list(rows["group"]),
        backgrounds=Backgrounds(textures, photographs, []),
    )
