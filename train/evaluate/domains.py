"""The domains that a split is measured on: those of the data folder, and catalogue products pasted on backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.photographs import BACKGROUNDS, HIGH_RESOLUTION
from train.data.augmentation import Backgrounds, cut_out, paste_on_background
from train.data.domains import (
    DOMAINS,
    PHONE,
    STREETS,
    THUMBNAILS,
    TITLES,
    Domain,
    Split,
    load_domains,
    read_image,
)

PASTED = "pasted"
PASTED_SIDE = 384  # pixels
ALL_TITLES = TITLES | {PASTED: "the catalogue's accessories and the like, pasted on other backgrounds"}


def evaluation_domains(split: Split) -> list[Domain]:
    """Every domain that the data folder has for the split. `split.rows` are those that may be measured on."""
    domains = load_domains(split, [kind.name for kind in DOMAINS if kind.name != STREETS])
    if (split.data / BACKGROUNDS / split.name).is_dir():
        domains.append(_pasted(split, {domain.name: domain for domain in domains}))
    return [domain for domain in domains if len(domain)]


@dataclass
class Pasted(Domain):
    """Products of the catalogue, pasted on backgrounds of the split; always the same background for a product."""

    backgrounds: Backgrounds | None = None

    def __getitem__(self, index: int) -> Image.Image:
        path = self.paths[index]
        image, alpha = cut_out(np.asarray(read_image(path)), random_of(path))
        view = paste_on_background(image, alpha, self.backgrounds.draw, PASTED_SIDE, random_of(path))
        return Image.fromarray(view)


def random_of(photograph: Path) -> np.random.Generator:
    """It is seeded by the product's id, which may be any text."""
    product = photograph.stem
    return np.random.default_rng(int(product) if product.isdecimal() else list(product.encode()))


def _pasted(split: Split, domains: dict[str, Domain]) -> Pasted:
    """Accessories, whose photographs by people are few, as far as they can be separated from their background."""
    catalogue = domains[THUMBNAILS]
    rows = catalogue.subset(np.zeros(0, dtype=int) if catalogue.accessories is None else catalogue.accessories)
    sharp = split.data / HIGH_RESOLUTION / "images"
    paths = [path if (path := sharp / thumbnail.name).is_file() else thumbnail for thumbnail in rows.paths]
    usable = np.array(
        [cut_out(np.asarray(read_image(path)), random_of(path)) is not None for path in paths], dtype=bool
    )
    rows.paths = paths
    rows = rows.subset(usable)
    textures = Domain(BACKGROUNDS, sorted((split.data / BACKGROUNDS / split.name).glob("*.jpg")), {})
    backgrounds = Backgrounds(textures, domains.get(PHONE, []), [])
    return Pasted(PASTED, rows.paths, rows.targets, groups=rows.groups, backgrounds=backgrounds)
