"""Measure a checkpoint on a split it was not trained on.

    python -m train evaluate --checkpoint runs/NAME --data data/ --split test

Prints the table and writes it to metrics.json in the checkpoint directory (elsewhere with --output). Half a minute for
the test split on two cores. Rows whose picture the checkpoint was trained on, by its trained_on.txt, are left out and
counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data_prep.splits import TEST, VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, METRICS, CheckpointError, load_checkpoint, write_json
from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import eval_transform
from train.dataset import DataError, encode_targets, evaluation_loader, read_photographs, read_table, rows_of_split
from train.metrics import BINS, attribute_metrics

TRAINED_ON = "trained_on.txt"  # one id a line: the rows of the training split


@torch.inference_mode()
def predict_probabilities(model: MultiTaskClassifier, loader: DataLoader) -> dict[str, np.ndarray]:
    """Attribute → probabilities (N, classes), after the temperature, in the order of the loader."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    batches: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    for images, _ in tqdm(loader, desc="evaluating", unit="batch", leave=False, disable=None):
        images = images.to(device, memory_format=torch.channels_last)
        for name, probabilities in model.probabilities(images).items():
            batches[name].append(probabilities.cpu().numpy())
    model.train(was_training)
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def measure(model: MultiTaskClassifier, loader: DataLoader, targets: torch.Tensor) -> dict[str, Any]:
    """The figures of each attribute, and their cross-entropies added up."""
    probabilities = predict_probabilities(model, loader)
    figures: dict[str, Any] = {
        name: attribute_metrics(probabilities[name], targets[:, i].numpy()) for i, name in enumerate(NAMES)
    }
    return {"attributes": figures, "cross_entropy_sum": sum(f["cross_entropy"] for f in figures.values())}


def without_trained(rows: pd.DataFrame, table: pd.DataFrame, checkpoint: Path) -> pd.DataFrame:
    """`rows` less those that show the picture of an id in the checkpoint's trained_on.txt, if it has one."""
    path = checkpoint / TRAINED_ON
    if not path.is_file():
        return rows
    trained = set(map(int, path.read_text(encoding="utf-8").split()))
    groups = set(table.loc[table["id"].isin(trained), "group"])
    return rows[~rows["group"].isin(groups)]


def evaluate_checkpoint(checkpoint: Path, data: Path, split: str, workers: int = 1) -> dict[str, Any]:
    """What metrics.json holds."""
    loaded = load_checkpoint(checkpoint)
    table = read_table(data)
    all_rows = rows_of_split(table, split)
    rows = without_trained(all_rows, table, checkpoint)
    if rows.empty:
        raise DataError(f"the checkpoint was trained on every picture of split {split!r}")
    targets = encode_targets(rows, loaded.encoders)
    loader = evaluation_loader(read_photographs(data, rows), targets, eval_transform(loaded.config), workers=workers)
    left_out = len(all_rows) - len(rows)
    return {
        "split": split,
        "rows": len(rows),
        "rows_left_out_as_trained_on": left_out,
        "calibration_bins": BINS,
        **measure(loaded.model, loader, targets),
    }


def table_lines(metrics: dict[str, Any]) -> list[str]:
    """The figures as a Markdown table."""
    columns = {
        "accuracy": "accuracy %",
        "top5_accuracy": "top-5 %",
        "macro_f1": "macro F1",
        "cross_entropy": "cross-entropy",
        "calibration_error": "calibration error %",
    }
    lines = ["| | " + " | ".join(columns.values()) + " |", "| --- |" + " ---: |" * len(columns)]
    for attribute in ATTRIBUTES:
        figures = metrics["attributes"][attribute.name]
        cells = [
            f"{figures[key]:.3f}" if "%" not in title else f"{100 * figures[key]:.1f}" for key, title in columns.items()
        ]
        lines.append(f"| {attribute.title} | " + " | ".join(cells) + " |")
    lines.append(
        f"\n{metrics['split']} split, {metrics['rows']:,} photographs; "
        f"the four cross-entropies together {metrics['cross_entropy_sum']:.3f}"
    )
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="directory; the embedded default")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--split", choices=(VALIDATION, TEST), default=TEST)
    parser.add_argument("--output", type=Path, help="where to write the figures; metrics.json in the checkpoint")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare photographs")
    options = parser.parse_args(arguments)
    try:
        metrics = evaluate_checkpoint(options.checkpoint, options.data, options.split, options.workers)
    except (CheckpointError, DataError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print("\n".join(table_lines(metrics)))
    if metrics["rows_left_out_as_trained_on"]:
        print(f"left out, trained on: {metrics['rows_left_out_as_trained_on']}")
    write_json(options.output or options.checkpoint / METRICS, metrics)
    return 0
