"""The domains that a split is measured on: those of the data folder, and catalogue products pasted on backgrounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_prep.photographs import BACKGROUNDS, HIGH_RESOLUTION
from train.data.augmentation import Backgrounds, paste_on_background
from train.data.domains import (
    DOMAINS,
    PHONE,
    STREETS,
    THUMBNAILS,
    TITLES,
    Domain,
    Images,
    Split,
    load_domains,
    load_thumbnails,
    read_image,
)
from train.data.foreground import cut_out

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
        product = int(self.paths[index].stem)
        image, alpha = cut_out(np.asarray(read_image(self.paths[index])), np.random.default_rng(product))
        view = paste_on_background(image, alpha, self.backgrounds, PASTED_SIDE, np.random.default_rng(product))
        return Image.fromarray(view)


def _pasted(split: Split, domains: dict[str, Domain]) -> Pasted:
    """Accessories, whose photographs by people are few, as far as they can be separated from their background."""
    catalogue = domains.get(THUMBNAILS) or load_thumbnails(split)
    rows = catalogue.subset(np.zeros(0, dtype=int) if catalogue.accessories is None else catalogue.accessories)
    sharp = split.data / HIGH_RESOLUTION / "images"
    paths = [path if (path := sharp / thumbnail.name).is_file() else thumbnail for thumbnail in rows.paths]
    usable = np.array(
        [cut_out(np.asarray(read_image(p)), np.random.default_rng(int(p.stem))) is not None for p in paths], dtype=bool
    )
    rows.paths = paths
    rows = rows.subset(usable)
    textures = Images(sorted((split.data / BACKGROUNDS / split.name).glob("*.jpg")))
    photographs = Images(domains[PHONE].paths if PHONE in domains else [])
    backgrounds = Backgrounds(textures, photographs, [])
    return Pasted(PASTED, rows.paths, rows.targets, groups=rows.groups, backgrounds=backgrounds)
