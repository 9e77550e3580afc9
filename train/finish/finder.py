"""Train the finder of a checkpoint: where the products in a photograph are.

    python -m train finder --checkpoint runs/default --data data/

The backbone keeps its weights; a feature pyramid and the heads of FCOS are trained on scenes (train/data/scenes.py).
The threshold is the lowest score at which seven tenths of what is found in the validation split's street photographs
are right. Writes finder.safetensors and the section `finder` of config.json.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_prep.photographs import EVERYDAY, HIGH_RESOLUTION
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.checkpoint import Checkpoint, load_checkpoint, save_finder
from fashion_model.models.engine import fold_batch_norms
from fashion_model.models.finder import Finder, FinderConfig
from train.data.domains import PHONE, THUMBNAILS, WORN, Domain, Split, load_domains, read_image
from train.data.loading import batches_of
from train.data.scenes import GROUPS, PRODUCT_TYPE, Photograph, Scenes, street_photographs
from train.data.table import read_table, rows_of_split
from train.evaluate.detection import Boxes, Matches, match

WEIGHT_DECAY = 0.05
NAMES = (THUMBNAILS, HIGH_RESOLUTION, PHONE, WORN, EVERYDAY)  # of the domains that scenes are made of
PRECISION = 0.7  # at the threshold
MIN_SCORE = 0.02  # of what average precision counts
SIZES = ((320, 448), (448, 320), (384, 384))  # width, height of the scenes
SIZE_SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Config:
    checkpoint: Path
    """The checkpoint directory."""
    data: Path
    """The folder that data_prep wrote."""
    steps: int = 2000
    """Batches of scenes."""
    batch_size: int = 8
    learning_rate: float = 2e-3
    """At its maximum (one cycle)."""
    seed: int = 0
    workers: int = 1
    """Processes that prepare scenes."""


def run(config: Config) -> None:
    checkpoint = load_checkpoint(config.checkpoint)
    finder = new_finder(checkpoint)
    domains = domains_of(checkpoint, config.data, TRAIN)
    fit(finder, checkpoint, Scenes(domains, config.data, checkpoint.encoders.labels[PRODUCT_TYPE]), config)
    validation = street_photographs(domains_of(checkpoint, config.data, VALIDATION)[WORN])
    matches = evaluate(finder, checkpoint, validation)
    threshold, recall = matches.at_precision(PRECISION)
    for group, precision in zip(GROUPS, matches.average_precision(), strict=True):
        print(f"{group}: average precision {100 * precision:.1f}")
    print(f"score at least {threshold:.3f}: {100 * recall:.1f} % of the products found, {PRECISION:.0%} of these right")
    finder.config = dataclasses.replace(finder.config, threshold=threshold)
    save_finder(config.checkpoint, finder)


def new_finder(checkpoint: Checkpoint, **settings: int) -> Finder:
    """With random weights, on a copy of the checkpoint's backbone."""
    known = set(checkpoint.encoders.labels[PRODUCT_TYPE])
    groups = {name: tuple(t for t in types if t in known) for name, (types, _) in GROUPS.items()}
    backbone = copy.deepcopy(checkpoint.model.backbone).eval().requires_grad_(False)
    with torch.no_grad():
        backbone = fold_batch_norms(backbone, torch.rand(2, 3, *checkpoint.config.image_size))
    return Finder(backbone.to(memory_format=torch.channels_last), FinderConfig(groups, **settings))


def domains_of(checkpoint: Checkpoint, data: Path, split: str) -> dict[str, Domain]:
    rows = rows_of_split(read_table(data), split)
    of_split = Split(data, split, rows, checkpoint.config.attributes, checkpoint.encoders)
    return {domain.name: domain for domain in load_domains(of_split, NAMES)}


def fit(finder: Finder, checkpoint: Checkpoint, scenes: Scenes, config: Config) -> None:
    optimizer = torch.optim.AdamW(finder.parameters(), lr=config.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, config.steps, pct_start=0.1)
    normalise = checkpoint.config.preprocessing.normalise
    finder.train()
    finder.backbone.compute_stages_with_engine()
    finder.to(memory_format=torch.channels_last)
    progress = tqdm(batches(scenes, config), desc="finder", unit="batch", total=config.steps, disable=None)
    average = 0.0
    for step, batch in enumerate(progress):
        images = [normalise(image) for image, _, _ in batch]
        losses = finder(images, [{"boxes": boxes, "labels": groups} for _, boxes, groups in batch])
        loss = sum(losses.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(finder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average = loss.item() if not step else 0.98 * average + 0.02 * loss.item()
        progress.set_postfix(loss=f"{average:.3f}", refresh=False)
    finder.eval()


def batches(scenes: Scenes, config: Config) -> Iterator[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Batches of scenes, each of one size."""
    random = np.random.default_rng(config.seed)
    keys = [
        [(int(seed), SIZES[size]) for seed in random.integers(2**31, size=config.batch_size)]
        for size in random.choice(len(SIZES), config.steps, p=SIZE_SHARES)
    ]
    return batches_of(scenes, config.workers, batch_sampler=keys, collate_fn=list)


def evaluate(finder: Finder, checkpoint: Checkpoint, photographs: list[Photograph]) -> Matches:
    """What the finder finds in the photographs, with scores from MIN_SCORE on, and what of it is right."""
    finder.score_thresh = MIN_SCORE
    return match(
        [found_in(finder, checkpoint, photograph.path) for photograph in photographs],
        [Boxes(photograph.boxes, photograph.groups) for photograph in photographs],
        len(GROUPS),
    )


def found_in(finder: Finder, checkpoint: Checkpoint, path: Path) -> Boxes:
    """Boxes as parts of the photograph's width and height."""
    photograph = read_image(path)
    preprocessing = finder.preprocessing(checkpoint.config.preprocessing, photograph.size)
    boxes, scores, groups = finder.detect(preprocessing(photograph))
    on_photograph = preprocessing.boxes_on_photograph(boxes.numpy(), photograph.size)
    return Boxes(on_photograph / np.tile(photograph.size, 2), groups.numpy(), scores.numpy())
