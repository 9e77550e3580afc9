"""Compare two recipes, each trained with several seeds.

    python -m train compare --base runs/linear-0 runs/linear-1 runs/linear-2 --other runs/moe-0 runs/moe-1 runs/moe-2

The first of one is compared with the first of the other, and so on: runs of `train fit` with the same seed, evaluated
on the same split, whose figures are read from metrics.json. Prints the settings that the recipes differ in, the means,
the mean difference, and its 95 % interval by Student's t over the pairs: over seeds, for these photographs. Of so many
intervals one in twenty leaves out 0 by chance. Where the split is the one by which the best epoch was chosen, the means
are a little too good, for both alike. Seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fashion_model.attributes import ATTRIBUTES
from fashion_model.checkpoint import CONFIG, METRICS, CheckpointError, read_json
from train.fit import FIT
from train.fit_config import FitConfig
from train.metrics import mean_and_reach
from train.tables import markdown_table

FIGURES = {"accuracy": ("accuracy %", 100), "macro_f1": ("macro F1", 1), "cross_entropy": ("cross-entropy", 1)}
SEED, ROWS = "seed", "rows"


@dataclass(frozen=True)
class Run:
    directory: Path
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]  # all that decided its result
    calibrated: bool

    @classmethod
    def read(cls, directory: Path) -> Run:
        documents = []
        for file, writer in ((METRICS, "evaluate"), (FIT, "fit"), (CONFIG, "fit")):
            try:
                documents.append(read_json(directory / file))
            except (OSError, ValueError) as error:
                raise CheckpointError(f"{directory / file} cannot be read: {error}; run train {writer}") from error
        metrics, settings, config = documents
        settings = FitConfig("", "").settings() | settings  # an older run lacks what did not exist then
        calibrated = any(temperature != 1 for temperature in config.get("temperatures", {}).values())
        return cls(directory, metrics, settings, calibrated)

    @property
    def measured_on(self) -> tuple[Any, ...]:
        """What has to be alike for figures that are compared."""
        return self.metrics["split"], self.metrics[ROWS], self.settings[ROWS], self.calibrated

    @property
    def recipe(self) -> dict[str, Any]:
        return {key: value for key, value in self.settings.items() if key != SEED}


def read_pairs(base: Sequence[Path], other: Sequence[Path]) -> list[tuple[Run, Run]]:
    """The runs of each pair. CheckpointError if they cannot be compared."""
    if len(base) != len(other):
        raise CheckpointError(f"{len(base)} checkpoints cannot be paired with {len(other)}")
    runs = [[Run.read(directory) for directory in directories] for directories in (base, other)]
    for side in runs:
        for run in side:
            if run.measured_on != runs[0][0].measured_on:
                raise CheckpointError(
                    f"{run.directory} was measured on other photographs than {base[0]}, or is calibrated otherwise"
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
    """Markdown: a row for each figure of each attribute, and one for the cross-entropies together."""
    rows = []
    for attribute in ATTRIBUTES:
        for key, (title, factor) in FIGURES.items():
            values = [[run.metrics["attributes"][attribute.name][key] * factor for run in pair] for pair in pairs]
            rows.append(_row(f"{attribute.title}, {title}", np.array(values)))
    sums = [[run.metrics["cross_entropy_sum"] for run in pair] for pair in pairs]
    rows.append(_row("four cross-entropies", np.array(sums)))
    return markdown_table(("", "base", "other", "difference", "95 % interval"), rows)


def _row(title: str, values: np.ndarray) -> tuple[str, ...]:
    """values (pairs, 2): base and other."""
    digits = 1 if "%" in title else 3
    base, other = values.mean(axis=0)
    difference, reach = mean_and_reach(values[:, 1] - values[:, 0])
    interval = "" if np.isnan(reach) else f"{difference - reach:+.{digits}f} to {difference + reach:+.{digits}f}"
    return title, f"{base:.{digits}f}", f"{other:.{digits}f}", f"{difference:+.{digits}f}", interval


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train compare", description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, nargs="+", required=True, metavar="CHECKPOINT")
    parser.add_argument("--other", type=Path, nargs="+", required=True, metavar="CHECKPOINT", help="in the same order")
    options = parser.parse_args(arguments)
    try:
        pairs = read_pairs(options.base, options.other)
    except CheckpointError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    metrics, seeds = pairs[0][0].metrics, ", ".join(str(run.settings[SEED]) for run, _ in pairs)
    print(f"{table(pairs)}\n\n{metrics['split']} split, {metrics[ROWS]:,} photographs; seeds {seeds}")
    print(f"base and other differ in: {differing(*pairs[0])}")
    return 0
