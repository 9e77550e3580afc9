"""The domains that a split is measured on, and a network's outputs for their images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from data_prep.photographs import BACKGROUNDS, HIGH_RESOLUTION
from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.preprocessing import Preprocessing
from train.data.augmentation import Backgrounds, cut_out, paste_on_background
from train.data.domains import DOMAINS, PHONE, STREETS, THUMBNAILS, Domain, Split, load_domains, read_image
from train.data.loading import batches_of, keep_freed_memory

BATCH_SIZE = 32  # more needs more memory and is not faster
PASTED = "pasted"
PASTED_SIDE = 384  # pixels


def evaluation_domains(split: Split) -> list[Domain]:
    """Every domain that the data folder has for the split, and products of the catalogue pasted on backgrounds.

    `split.rows` are those that may be measured on.
    """
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
        image, alpha = cut_out(np.asarray(read_image(path)), _generator(path))
        return Image.fromarray(paste_on_background(image, alpha, self.backgrounds.draw, PASTED_SIDE, _generator(path)))


def _pasted(split: Split, domains: dict[str, Domain]) -> Pasted:
    """Accessories, whose photographs by people are few, as far as they can be separated from their background."""
    catalogue = domains[THUMBNAILS]
    rows = catalogue.subset(np.zeros(0, dtype=int) if catalogue.accessories is None else catalogue.accessories)
    sharp = split.data / HIGH_RESOLUTION / "images"
    rows.paths = [path if (path := sharp / thumbnail.name).is_file() else thumbnail for thumbnail in rows.paths]
    usable = [cut_out(np.asarray(read_image(path)), _generator(path)) is not None for path in rows.paths]
    rows = rows.subset(np.array(usable, dtype=bool))
    textures = Domain(BACKGROUNDS, sorted((split.data / BACKGROUNDS / split.name).glob("*.jpg")), {})
    backgrounds = Backgrounds(textures, domains.get(PHONE, []), [])
    return Pasted(PASTED, rows.paths, rows.targets, groups=rows.groups, backgrounds=backgrounds)


def _generator(path: Path) -> np.random.Generator:
    """Random numbers that depend on the product's id only."""
    return np.random.default_rng(int(path.stem) if path.stem.isdecimal() else list(path.stem.encode()))


@dataclass(frozen=True)
class Outputs:
    """What the network computes for N images, on the CPU."""

    logits: dict[str, torch.Tensor]  # attribute name → (N, classes) float32
    fashion_scores: torch.Tensor  # (N,) log odds
    gates: dict[str, torch.Tensor]  # of MoE heads: attribute name → weight of each expert (N, experts)


@torch.inference_mode()
def outputs_of(model: MultiTaskClassifier, images: Sequence[Image.Image], workers: int = 1) -> Outputs:
    """Leaves `model` in evaluation mode. DataError for an image that cannot be read."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    model.eval()
    workers = workers if len(images) > BATCH_SIZE else 0  # a single batch is read as soon here
    collate = partial(_inputs, model.config.preprocessing)
    batches = batches_of(images, workers, batch_size=BATCH_SIZE, collate_fn=collate)
    count = math.ceil(len(images) / BATCH_SIZE)
    progress = tqdm(batches, getattr(images, "name", "images"), count, unit="batch", leave=False, disable=None)
    pooled = torch.cat([model.features(x.to(device, memory_format=torch.channels_last)).float() for x in progress])
    return Outputs(
        {name: x.float().cpu() for name, x in model.heads(pooled).items()},
        model.fashion_scores(pooled).float().cpu(),
        {name: x.float().cpu() for name, x in model.heads.gates_of(pooled).items()},
    )


def _inputs(transform: Preprocessing, images: list[Image.Image]) -> torch.Tensor:
    """(B, 3, H, W), in the worker that reads them."""
    return torch.stack([transform(image) for image in images])
