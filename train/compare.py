"""Compare two recipes, each trained with several seeds.

    python -m train compare --base runs/linear-0 runs/linear-1 runs/linear-2 --other runs/moe-0 runs/moe-1 runs/moe-2

The first of one is compared with the first of the other, and so on: runs that should have the seed in common, evaluated
on the same split, whose figures are read from metrics.json. Prints the means, the mean difference, and its 95 %
interval by Student's t over the pairs. Of so many intervals one in twenty leaves out 0 by chance. Seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fashion_model.attributes import ATTRIBUTES
from fashion_model.checkpoint import METRICS, CheckpointError, read_json
from train.tables import markdown_table

FIGURES = {"accuracy": ("accuracy %", 100), "macro_f1": ("macro F1", 1), "cross_entropy": ("cross-entropy", 1)}
SAME = ("split", "rows")  # in metrics.json, for figures that can be compared


def differences(base: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Mean of other - base over the pairs, and the ends of its 95 % interval; NaN ends for a single pair."""
    d = np.asarray(other) - np.asarray(base)
    mean = float(d.mean())
    if len(d) < 2:
        return mean, np.nan, np.nan
    reach = float(stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
    return mean, mean - reach, mean + reach


def read_pairs(base: Sequence[Path], other: Sequence[Path]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The metrics of each pair. CheckpointError if they cannot be compared."""
    if len(base) != len(other):
        raise CheckpointError(f"{len(base)} checkpoints cannot be paired with {len(other)}")
    read: dict[Path, dict[str, Any]] = {}
    for directory in (*base, *other):
        try:
            read[directory] = read_json(directory / METRICS)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{directory / METRICS} cannot be read: {error}; run train evaluate") from error
        measured_on, first = ([m.get(key) for key in SAME] for m in (read[directory], read[base[0]]))
        if None in measured_on or measured_on != first:
            raise CheckpointError(f"{directory} was measured on {measured_on}, {base[0]} on {first}")
    return [(read[b], read[o]) for b, o in zip(base, other, strict=True)]


def table(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Markdown: a row for each figure of each attribute, and one for the cross-entropies together."""
    rows = []
    for attribute in ATTRIBUTES:
        for key, (title, factor) in FIGURES.items():
            values = np.array([[m["attributes"][attribute.name][key] * factor for m in pair] for pair in pairs])
            rows.append(_row(f"{attribute.title}, {title}", values))
    rows.append(_row("four cross-entropies", np.array([[m["cross_entropy_sum"] for m in pair] for pair in pairs])))
    return markdown_table(("", "base", "other", "difference", "95 % interval"), rows)


def _row(title: str, values: np.ndarray) -> tuple[str, ...]:
    """values (pairs, 2): base and other."""
    digits = 1 if "%" in title else 3
    base, other = values.mean(axis=0)
    difference, low, high = differences(values[:, 0], values[:, 1])
    interval = "" if np.isnan(low) else f"{low:+.{digits}f} to {high:+.{digits}f}"
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
    split, rows = (pairs[0][0][key] for key in SAME)
    print(f"{table(pairs)}\n\n{split} split, {rows:,} photographs, {len(pairs)} pairs of checkpoints")
    return 0
