"""Measure a checkpoint on a split it was not trained on.

    python -m train evaluate --checkpoint runs/NAME --data data/ --split test [--sharp images-480.zip …]

Prints the tables and writes them to metrics.json in the checkpoint directory (elsewhere with --output). A minute for
the test split on two cores, and another for its sharp photographs. Rows whose picture the checkpoint was trained on, by
its trained_on.txt, are left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data_prep.splits import TEST, VALIDATION
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import (
    METRICS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    write_json,
)
from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import eval_transform
from train.dataset import (
    DataError,
    Photographs,
    encode_targets,
    evaluation_loader,
    read_photographs,
    read_table,
    rows_of_split,
)
from train.metrics import BINS, Answers, figures, intervals
from train.tables import markdown
from train.versions import COPIES, DISTURBANCES, SharpPhotographs, Version, VersionOf, product_mask

TRAINED_ON = "trained_on.txt"  # one id a line: the rows of the training split


@torch.inference_mode()
def predict_probabilities(model: MultiTaskClassifier, loader: DataLoader) -> dict[str, np.ndarray]:
    """Attribute → probabilities (N, classes), after the temperature, in the order of the loader.

    Leaves `model` in evaluation mode.
    """
    device = next(model.parameters()).device
    model.eval()
    batches: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    for images, _ in tqdm(loader, desc="evaluating", unit="batch", leave=False, disable=None):
        images = images.to(device, memory_format=torch.channels_last)
        for name, probabilities in model.probabilities(images).items():
            batches[name].append(probabilities.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def classes(probabilities: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities (N, classes) of each attribute → the most probable class (N,) of each."""
    return {name: p.argmax(axis=1) for name, p in probabilities.items()}


def measure(probabilities: Mapping[str, np.ndarray], targets: torch.Tensor, bootstrap: bool = True) -> dict[str, Any]:
    """The figures of each attribute, with their intervals if `bootstrap`, and the cross-entropies added up."""
    attributes: dict[str, Any] = {}
    for i, name in enumerate(NAMES):
        answers = Answers.of(probabilities[name], targets[:, i].numpy())
        attributes[name] = figures(answers) | ({"intervals": intervals(answers)} if bootstrap else {})
    return {"attributes": attributes, "cross_entropy_sum": sum(f["cross_entropy"] for f in attributes.values())}


def without_trained(rows: pd.DataFrame, table: pd.DataFrame, checkpoint: Path) -> pd.DataFrame:
    """`rows` less those that show the picture of an id in the checkpoint's trained_on.txt, if it has one."""
    path = checkpoint / TRAINED_ON
    if not path.is_file():
        return rows
    trained = set(map(int, path.read_text(encoding="utf-8").split()))
    groups = set(table.loc[table["id"].isin(trained), "group"])
    return rows[~rows["group"].isin(groups)]


class Evaluation:
    """A checkpoint and the rows of a split that it was not trained on."""

    def __init__(self, checkpoint: Path, data: Path, split: str, device: str = "cpu", workers: int = 1):
        if not checkpoint.is_dir():
            raise CheckpointError(f"{checkpoint} is not a directory")
        self.checkpoint: Checkpoint = load_checkpoint(checkpoint)
        self.checkpoint.model.to(device, memory_format=torch.channels_last)
        table = read_table(data)
        all_rows = rows_of_split(table, split)
        self.split, self.data, self.workers = split, data, workers
        self.rows = without_trained(all_rows, table, checkpoint)
        self.left_out = len(all_rows) - len(self.rows)
        if self.rows.empty:
            raise DataError(f"the checkpoint was trained on every picture of split {split!r}")

    def probabilities(self, photographs: Photographs, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        transform = eval_transform(self.checkpoint.config)
        loader = evaluation_loader(photographs, self.targets(rows), transform, workers=self.workers)
        return predict_probabilities(self.checkpoint.model, loader)

    def thumbnail_probabilities(self) -> dict[str, np.ndarray]:
        return self.probabilities(read_photographs(self.data, self.rows), self.rows)

    def rows_with(self, sharp: SharpPhotographs) -> pd.DataFrame:
        """DataError if there is none."""
        rows = self.rows[[product in sharp for product in self.rows["id"]]]
        if rows.empty:
            raise DataError(f"none of the products of split {self.split!r} has a sharp photograph")
        return rows

    def targets(self, rows: pd.DataFrame) -> torch.Tensor:
        return encode_targets(rows, self.checkpoint.encoders)

    def run(self, sharp: SharpPhotographs | None = None) -> dict[str, Any]:
        """What metrics.json holds: the figures on the data's own photographs, and under `sharp` on the sharp ones."""
        probabilities = self.thumbnail_probabilities()
        metrics = self.thumbnail_metrics(probabilities)
        if sharp is not None:
            rows = self.rows_with(sharp)
            known = self.rows.index.isin(rows.index)
            thumbnails = classes({name: p[known] for name, p in probabilities.items()})
            metrics["sharp"] = self._run_sharp(rows, sharp, thumbnails)
        return metrics

    def thumbnail_metrics(self, probabilities: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            "split": self.split,
            "rows": len(self.rows),
            "rows_left_out_as_trained_on": self.left_out,
            "calibration_bins": BINS,
            **measure(probabilities, self.targets(self.rows)),
        }

    def _run_sharp(
        self, rows: pd.DataFrame, sharp: SharpPhotographs, thumbnails: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        products = rows["id"].tolist()
        probabilities = self.probabilities(VersionOf(sharp, products), rows)
        answers = classes(probabilities)
        copies = {"thumbnail": thumbnails} | {
            copy: classes(self.probabilities(VersionOf(sharp, products, make), rows)) for copy, make in COPIES.items()
        }
        agreement: dict[str, Any] = {
            copy: {name: float((given[name] == answers[name]).mean()) for name in NAMES}
            for copy, given in copies.items()
        }
        agreement["all"] = {
            name: float(np.all([given[name] == answers[name] for given in copies.values()], axis=0).mean())
            for name in NAMES
        }
        maskable = np.array([product_mask(sharp[product]) is not None for product in products])
        disturbances = {
            name: self._disturbed(rows[maskable] if needs_mask else rows, sharp, make)
            for name, (make, needs_mask) in DISTURBANCES.items()
        }
        figures_ = measure(probabilities, self.targets(rows))
        return {"rows": len(rows), **figures_, "agreement": agreement, "disturbances": disturbances}

    def _disturbed(self, rows: pd.DataFrame, sharp: SharpPhotographs, make: Version) -> dict[str, Any]:
        if rows.empty:
            return {"rows": 0}
        probabilities = self.probabilities(VersionOf(sharp, rows["id"].tolist(), make), rows)
        found = measure(probabilities, self.targets(rows), bootstrap=False)["attributes"]
        return {"rows": len(rows)} | {name: found[name]["accuracy"] for name in NAMES}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """What `evaluate` and `calibrate` both need."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument(
        "--sharp",
        type=Path,
        nargs="+",
        metavar="FOLDER_OR_ZIP",
        help="also the sharp photographs of the split's products: images/ID.jpg, the first path first",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare photographs")


def prepare(options: argparse.Namespace, split: str) -> tuple[Evaluation, SharpPhotographs | None]:
    """What the options of `add_common_arguments` ask for. CheckpointError or DataError if it cannot be had."""
    sharp = SharpPhotographs(options.sharp) if options.sharp else None
    return Evaluation(options.checkpoint, options.data, split, options.device, options.workers), sharp


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--split", choices=(VALIDATION, TEST), default=TEST)
    add_common_arguments(parser)
    parser.add_argument("--output", type=Path, help="where to write the figures; metrics.json in the checkpoint")
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, options.split)
        if not (options.checkpoint / TRAINED_ON).is_file():
            print(f"The checkpoint has no {TRAINED_ON}: whether it was trained on these pictures is not known.")
        metrics = evaluation.run(sharp)
        output = options.output or options.checkpoint / METRICS
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, metrics)
    except (CheckpointError, DataError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(markdown(metrics))
    return 0
