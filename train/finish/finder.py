"""Train the finder of a checkpoint: where the products in a photograph are.

    python -m train finder --checkpoint runs/default --data data/

The backbone keeps its weights; a copy of one stage, a feature pyramid and the heads of FCOS are trained on scenes
(train/data/scenes.py).
The threshold is the lowest score at which three quarters of the products found in the validation split's street
photographs are right. The checkpoint should be calibrated before, as boxes that do not look like fashion products do
not count. Writes finder.safetensors, the section `finder` of config.json, and the metrics of the validation split.
"""

import copy
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_prep.photographs import EVERYDAY, HIGH_RESOLUTION
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import PRODUCT_TYPE
from fashion_model.checkpoint import TRAINING, Checkpoint, load_checkpoint, read_json, save_finder, write_json
from fashion_model.classifier import OTHER, FashionClassifier
from fashion_model.models.config import FinderConfig
from fashion_model.models.finder import Finder
from train.data.domains import PHONE, THUMBNAILS, WORN, Domain
from train.data.loading import batches_of
from train.data.scenes import GROUPS, Scenes, street_photographs
from train.data.table import DataError
from train.evaluate.finder import MIN_SCORE, arrays_of, domains_of, match
from train.evaluate.predictions import saved_predictions
from train.evaluate.split_metrics import split_metrics, write_split_metrics
from train.fit.trainer import check_finite

WEIGHT_DECAY = 0.05
OWN_RATE = 0.15  # learning rate of the finder's own stage, which is trained already, as a part of the others'
NAMES = (THUMBNAILS, HIGH_RESOLUTION, PHONE, WORN, EVERYDAY)  # of the domains that scenes are made of
FOLDERS = (PHONE, WORN, EVERYDAY)  # without which there are no scenes
PRECISION = 0.75  # at the threshold
SIZES = ((320, 448), (448, 320), (384, 384), (448, 576))  # width, height of the scenes; the last is what is served
SIZE_SHARES = (0.5, 0.1, 0.1, 0.3)


@dataclass(frozen=True)
class Config:
    checkpoint: Path
    """The checkpoint directory."""
    data: Path
    """The folder that data_prep wrote."""
    steps: int = 3000
    """Batches of scenes."""
    batch_size: int = 8
    learning_rate: float = 2e-3
    """At its maximum (one cycle)."""
    seed: int = 0
    workers: int = 1
    """Processes that prepare scenes."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ValueError("steps and batch_size must be at least 1, and learning_rate more than 0")


def run(config: Config) -> None:
    """DataError without what a finder learns from."""
    if missing := [name for name in FOLDERS if not (config.data / name).is_dir()]:
        raise DataError(f"{config.data} has no folder {missing[0]}: a finder learns from its photographs")
    start, checkpoint = time.monotonic(), load_checkpoint(config.checkpoint)
    if PRODUCT_TYPE not in checkpoint.encoders.labels:
        raise DataError(f"{config.checkpoint} does not predict {PRODUCT_TYPE}, which a finder's groups are made of")
    finder = new_finder(checkpoint)
    domains = domains_of(checkpoint.config, checkpoint.encoders, config.data, TRAIN, NAMES)
    worn = domains_of(checkpoint.config, checkpoint.encoders, config.data, VALIDATION, (WORN,))
    empty = [name for name in FOLDERS if name not in domains]
    if empty or WORN not in worn:
        raise DataError(f"{config.data / (empty or [WORN])[0]} has no photographs to train or to choose a threshold on")
    fit(finder, checkpoint, Scenes(domains, config.data, checkpoint.encoders.labels[PRODUCT_TYPE]), config)
    choose(finder, checkpoint, worn[WORN])
    save_finder(config.checkpoint, finder)
    predictions = saved_predictions(config.checkpoint, config.data, VALIDATION, workers=config.workers)
    write_split_metrics(config.checkpoint, VALIDATION, split_metrics(predictions, config.data))
    if (training := config.checkpoint / TRAINING).is_file():
        settings = {
            key: value for key, value in dataclasses.asdict(config).items() if key not in ("checkpoint", "data")
        }
        minutes = round((time.monotonic() - start) / 60, 1)
        write_json(training, read_json(training) | {"finder": {"settings": settings, "minutes": minutes}})


def new_finder(checkpoint: Checkpoint, **settings: int) -> Finder:
    """With random weights, on a copy of the checkpoint's backbone."""
    known = set(checkpoint.encoders.labels[PRODUCT_TYPE])
    groups = {name: tuple(t for t in types if t in known) for name, (types, _) in GROUPS.items()}
    backbone = copy.deepcopy(checkpoint.model.backbone).eval().requires_grad_(False)
    return Finder(backbone.to(memory_format=torch.channels_last), FinderConfig(groups, **settings))


def fit(finder: Finder, checkpoint: Checkpoint, scenes: Scenes, config: Config) -> None:
    own = list(finder.backbone.own.parameters())
    new = [*finder.backbone.fpn.parameters(), *finder.head.parameters()]
    optimizer = torch.optim.AdamW([{"params": own}, {"params": new}], weight_decay=WEIGHT_DECAY)
    rates = [OWN_RATE * config.learning_rate, config.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, config.steps, pct_start=0.1)
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
        check_finite(loss.item(), f"in step {step}")
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


def choose(finder: Finder, checkpoint: Checkpoint, worn: Domain) -> None:
    """Set the finder's threshold."""
    finder.config = dataclasses.replace(finder.config, threshold=MIN_SCORE)
    model = copy.copy(checkpoint.model)
    model.config = dataclasses.replace(model.config, finder=finder.config)
    classifier = FashionClassifier(dataclasses.replace(checkpoint, model=model, finder=finder))
    photographs = street_photographs(worn)
    # Without whole photographs, which stand for what is not found.
    found = [[p for p in classifier.find(photograph.path) if p.group != OTHER] for photograph in photographs]
    matches = match([arrays_of(*pair) for pair in zip(found, photographs, strict=True)], photographs, len(GROUPS))
    threshold, recall = matches.at_precision(PRECISION)
    print(f"score at least {threshold:.3f}: {100 * recall:.1f} % of the products found, {PRECISION:.0%} of these right")
    finder.config = dataclasses.replace(finder.config, threshold=threshold)
