"""Compare two recipes, each trained with several seeds.

    python -m train compare --base runs/linear-0 runs/linear-1 --other runs/moe-0 runs/moe-1

Checkpoints are paired in the given order; the runs of a pair have the same seed and are evaluated on the same split.
Prints the settings that differ, the means, the mean difference and its 95 % interval (Student's t over the pairs),
which covers the variation over seeds. One interval in twenty excludes 0 by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fashion_model.attributes import Attribute
from fashion_model.checkpoint import CONFIG, CheckpointError, read_json
from fashion_model.models.config import ModelConfig
from train.evaluate.metrics import mean_interval
from train.evaluate.split_metrics import SplitMetrics, read_metrics
from train.evaluate.tables import markdown_table
from train.fit.command import FIT

METRICS = {"accuracy": ("accuracy %", 100), "macro_f1": ("macro F1", 1), "nll": ("negative log-likelihood", 1)}
SEED, ROWS = "seed", "rows"


@dataclass(frozen=True)
class Config:
    base: tuple[Path, ...]  # checkpoint directories of one recipe
    other: tuple[Path, ...]  # of the other recipe, in the same order
    split: Literal["validation", "test"] = "validation"


def run(config: Config) -> None:
    pairs = read_pairs(config.base, config.other, config.split)
    first, seeds = pairs[0][0], ", ".join(str(run.settings[SEED]) for run, _ in pairs)
    print(f"{table(pairs)}\n\n{config.split} split, {first.metrics.thumbnails['images']:,} images; seeds {seeds}")
    print(f"base and other differ in: {differing(*pairs[0])}")


@dataclass(frozen=True)
class Run:
    directory: Path
    metrics: SplitMetrics
    settings: Mapping[str, Any]  # that decided its result
    config: ModelConfig

    @classmethod
    def read(cls, directory: Path, split: str) -> Run:
        """CheckpointError if it was not trained by `train fit` or not evaluated on the split."""
        try:
            settings = read_json(directory / FIT)
            config = ModelConfig.from_dict(read_json(directory / CONFIG))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{directory / FIT} cannot be read: {error}; run train fit") from error
        metrics = read_metrics(directory).splits
        if split not in metrics:
            raise CheckpointError(f"{directory} has no metrics of the {split} split; run train evaluate")
        return cls(directory, metrics[split], settings, config)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        return self.config.attributes

    @property
    def measured_on(self) -> tuple[Any, ...]:
        """Must be equal for metrics to be comparable."""
        calibrated = any(temperature != 1 for temperature in self.config.temperatures.values())
        return self.metrics.thumbnails["images"], self.settings[ROWS], self.attributes, calibrated

    @property
    def recipe(self) -> dict[str, Any]:
        return {key: value for key, value in self.settings.items() if key != SEED}


def read_pairs(base: Sequence[Path], other: Sequence[Path], split: str) -> list[tuple[Run, Run]]:
    """The runs of each pair. CheckpointError if they cannot be compared."""
    if len(base) != len(other):
        raise CheckpointError(f"{len(base)} checkpoints cannot be paired with {len(other)}")
    runs = [[Run.read(directory, split) for directory in directories] for directories in (base, other)]
    for side in runs:
        for run in side:
            if run.measured_on != runs[0][0].measured_on:
                raise CheckpointError(
                    f"{run.directory} was measured on other images than {base[0]}, or is calibrated otherwise"
                )
            if run.recipe != side[0].recipe:
                raise CheckpointError(f"{run.directory} and {side[0].directory} differ in more than the seed")
    seeds = [[run.settings[SEED] for run in side] for side in runs]
    if seeds[0] != seeds[1] or len(set(seeds[0])) < len(base):
        raise CheckpointError(f"each pair needs a seed of its own, and the same in both; they are {seeds}")
    return list(zip(*runs, strict=True))


def differing(base: Run, other: Run) -> str:
    """Which settings the recipes differ in, and how."""
    both = [(key, base.recipe.get(key), other.recipe.get(key)) for key in base.recipe | other.recipe]
    return ", ".join(f"{key} {one} / {two}" for key, one, two in both if one != two) or "nothing"


def table(pairs: Sequence[tuple[Run, Run]]) -> str:
    """Markdown: one row a metric and attribute, of the thumbnails."""
    rows = []
    for attribute in pairs[0][0].attributes:
        for key, (title, factor) in METRICS.items():
            values = [[run.metrics.thumbnails["attributes"][attribute.name][key] * factor for run in p] for p in pairs]
            rows.append(_row(f"{attribute.title}, {title}", np.array(values)))
    sums = [[run.metrics.thumbnails["nll_sum"] for run in pair] for pair in pairs]
    rows.append(_row("sum of the negative log-likelihoods", np.array(sums)))
    return markdown_table(("", "base", "other", "difference", "95 % interval"), rows)


def _row(title: str, values: np.ndarray) -> tuple[str, ...]:
    """values (pairs, 2): base and other."""
    digits = 1 if "%" in title else 3
    base, other = values.mean(axis=0)
    difference, half = mean_interval(values[:, 1] - values[:, 0])
    interval = "" if np.isnan(half) else f"{difference - half:+.{digits}f} to {difference + half:+.{digits}f}"
    return title, f"{base:.{digits}f}", f"{other:.{digits}f}", f"{difference:+.{digits}f}", interval
