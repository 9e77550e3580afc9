"""A checkpoint on a split that it was not trained on: probabilities, features and all figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from data_prep.splits import TRAIN
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import (
    CONFIG,
    ENCODERS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    weight_files,
)
from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import Transform, eval_transform
from train.combinations import Combinations, Indices
from train.dataset import (
    DataError,
    Photographs,
    encode_targets,
    evaluation_loader,
    read_photographs,
    read_table,
    rows_of_split,
)
from train.kinds import kind_accuracy, label_shares
from train.memory import keep_freed_memory
from train.metrics import BINS, Answers, calibration_error_by_chance, figures, intervals
from train.others import OtherPictures
from train.trained_on import TRAINED_ON, read_trained_on, without_pictures_of
from train.versions import COPIES, DISTURBANCES, SharpPhotographs, Version, VersionOf, product_mask

T = TypeVar("T")
PAIR = ("product_type", "gender")  # whose combinations are looked at


@torch.inference_mode()
def features_of(
    model: MultiTaskClassifier, photographs: Photographs, workers: int = 1, transform: Transform | None = None
) -> torch.Tensor:
    """Pooled features (N, C) float32 on the model's device; through `eval_transform` if there is no other.

    Leaves `model` in evaluation mode, and on the CPU freed memory in the process.
    """
    nothing = torch.zeros(len(photographs), 0)  # to be right or wrong about
    loader = evaluation_loader(photographs, nothing, transform or eval_transform(model.config), workers=workers)
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    model.eval()
    progress = tqdm(loader, desc="evaluating", unit="batch", leave=False, disable=None)
    try:
        batches = [
            model.pool(model.features(images.to(device, memory_format=torch.channels_last))).float()
            for images, _ in progress
        ]
    except DataError as error:  # from a worker process its message holds a traceback
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from error
    return torch.cat(batches)


@torch.inference_mode()
def probabilities_of(model: MultiTaskClassifier, pooled: torch.Tensor) -> dict[str, np.ndarray]:
    """Pooled features (N, C) → attribute → calibrated probabilities (N, classes)."""
    return {name: p.cpu().numpy() for name, p in model.calibrate(model.heads(pooled)).items()}


def classes(probabilities: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities (N, classes) of each attribute → the most probable class (N,) of each."""
    return {name: p.argmax(axis=1) for name, p in probabilities.items()}


def pair_of(found: Mapping[str, T]) -> tuple[T, T]:
    """Attribute → anything → that of the two attributes whose combinations are looked at."""
    first, second = PAIR
    return found[first], found[second]


def labelled_pair(targets: torch.Tensor) -> Indices:
    """`pair_of` targets (N, 4)."""
    return pair_of({name: targets[:, i].numpy() for i, name in enumerate(NAMES)})


def measure(probabilities: Mapping[str, np.ndarray], targets: torch.Tensor, bootstrap: bool = True) -> dict[str, Any]:
    """The figures of each attribute, with their intervals if `bootstrap`, and the cross-entropies added up."""
    attributes: dict[str, Any] = {}
    for i, name in enumerate(NAMES):
        answers = Answers.of(probabilities[name], targets[:, i].numpy())
        attributes[name] = figures(answers)
        if bootstrap:
            by_chance = calibration_error_by_chance(answers)
            attributes[name] |= {"calibration_error_by_chance": by_chance, "intervals": intervals(answers)}
    return {"attributes": attributes, "cross_entropy_sum": sum(f["cross_entropy"] for f in attributes.values())}


def digest_of(checkpoint: Path) -> str:
    """SHA-256 of what decides a checkpoint's answers: configuration, labels and weights."""
    found = hashlib.sha256()
    for path in (checkpoint / CONFIG, checkpoint / ENCODERS, *weight_files(checkpoint)):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


class Evaluation:
    """A checkpoint and the rows of a split that it was not trained on."""

    def __init__(self, checkpoint: Path, data: Path, split: str, device: str = "cpu", workers: int = 1):
        if not checkpoint.is_dir():
            raise CheckpointError(f"{checkpoint} is not a directory")
        self.checkpoint: Checkpoint = load_checkpoint(checkpoint)
        self.model = self.checkpoint.model.to(device, memory_format=torch.channels_last)
        self.table = read_table(data)
        all_rows = rows_of_split(self.table, split)
        self.split, self.data, self.workers = split, data, workers
        self.knows_trained_on = (checkpoint / TRAINED_ON).is_file()
        trained_on = read_trained_on(checkpoint) if self.knows_trained_on else set()
        self.rows = without_pictures_of(all_rows, self.table, trained_on)
        self.left_out = len(all_rows) - len(self.rows)
        if self.rows.empty:
            raise DataError(f"the checkpoint was trained on every picture of split {split!r}")

    def features(self, photographs: Photographs, transform: Transform | None = None) -> torch.Tensor:
        """See `features_of`."""
        return features_of(self.model, photographs, self.workers, transform)

    def thumbnails(self) -> Photographs:
        return read_photographs(self.data, self.rows)

    def rows_with(self, sharp: SharpPhotographs) -> pd.DataFrame:
        """DataError if there is none."""
        return sharp.among_split(self.rows, self.split)

    def sharp_features(self, sharp: SharpPhotographs, rows: pd.DataFrame, make: Version | None = None) -> torch.Tensor:
        """Pooled features (N, C) of the sharp photographs of `rows`, each as `make` leaves it."""
        return self.features(VersionOf(sharp, rows["id"].tolist(), make))

    def targets(self, rows: pd.DataFrame) -> torch.Tensor:
        return encode_targets(rows, self.checkpoint.encoders)

    @torch.inference_mode()
    def fashion_scores(self, pooled: torch.Tensor) -> np.ndarray:
        """Pooled features (N, C) → (N,), log odds that each shows a fashion product."""
        return self.model.fashion_scores(pooled).cpu().numpy()

    def run(self, sharp: SharpPhotographs | None = None, others: OtherPictures | None = None) -> dict[str, Any]:
        """What metrics.json holds: the figures on the data's own photographs, and under `sharp` on the sharp ones.

        With `others`, under `fashion`, how well photographs of products are told from them.
        """
        pooled = {"thumbnails": self.features(self.thumbnails())}
        metrics = self.thumbnail_metrics(pooled["thumbnails"])
        if sharp is not None:
            rows = self.rows_with(sharp)
            pooled["sharp"] = self.sharp_features(sharp, rows)
            metrics["sharp"] = {"sources": sharp.sources(rows["id"]), **self._figures(rows, pooled["sharp"])}
            pair = {"thumbnails": pooled["thumbnails"][self.among(rows)], "sharp": pooled["sharp"]}
            answers = {kind: self.answers(p) for kind, p in pair.items()}
            metrics["sharp"]["agreement"] = self._agreement(rows, sharp, answers)
            metrics["sharp"]["season_shares"] = self._season_shares(rows, answers)
            metrics["sharp"]["kind_accuracy"] = kind_accuracy(*(p.cpu().numpy() for p in pair.values()))
            metrics["sharp"]["disturbances"], of_disturbed = self._disturbances(rows, sharp)
            pooled |= of_disturbed
        if others is not None:
            metrics["fashion"] = self._fashion_figures(pooled, others)
        return metrics

    def thumbnail_metrics(self, pooled: torch.Tensor) -> dict[str, Any]:
        """What metrics.json holds at its top; pooled features (N, C) of the thumbnails."""
        return {
            "split": self.split,
            "rows_left_out_as_trained_on": self.left_out,
            "knows_trained_on": self.knows_trained_on,
            "calibration_bins": BINS,
            **self._figures(self.rows, pooled),
        }

    def _figures(self, rows: pd.DataFrame, pooled: torch.Tensor) -> dict[str, Any]:
        probabilities, targets = probabilities_of(self.model, pooled), self.targets(rows)
        pairs = self.pair_figures(classes(probabilities), targets)
        return {"rows": len(rows), **measure(probabilities, targets), "unlikely_pairs": pairs} | self._gates(pooled)

    @torch.inference_mode()
    def _gates(self, pooled: torch.Tensor) -> dict[str, Any]:
        """Under `gates`, if there are any: attribute → for each expert the mean of its share and the deviation from it.

        An expert that is never used has a mean near 0, a gate that does not look at the photograph deviations near 0.
        """
        gates = {
            name: {"mean": s.mean(dim=0).tolist(), "deviation": s.std(dim=0, correction=0).tolist()}
            for name, s in self.model.heads.gate_shares(pooled).items()
        }
        return {"gates": gates} if gates else {}

    def pair_figures(self, answers: Mapping[str, np.ndarray], targets: torch.Tensor) -> dict[str, Any]:
        """How often unlikely pairs are answered: attribute → class (N,), targets (N, 4)."""
        return self.combinations.figures(pair_of(answers), labelled_pair(targets))

    @cached_property
    def combinations(self) -> Combinations:
        """Of product type and gender."""
        targets = self.targets(rows_of_split(self.table, TRAIN))
        return Combinations.of(labelled_pair(targets), pair_of(self.checkpoint.encoders.labels))

    def _agreement(
        self, rows: pd.DataFrame, sharp: SharpPhotographs, answers: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, dict[str, float]]:
        """Copy → attribute → the share of products for which it gets the sharp photograph's answer."""
        copies = {"thumbnail": answers["thumbnails"]} | {
            copy: self.answers(self.sharp_features(sharp, rows, make)) for copy, make in COPIES.items()
        }
        same = {copy: {n: a == answers["sharp"][n] for n, a in of_copy.items()} for copy, of_copy in copies.items()}
        same["all"] = {name: np.all([of_copy[name] for of_copy in same.values()], axis=0) for name in NAMES}
        return {copy: {name: float(s.mean()) for name, s in of_copy.items()} for copy, of_copy in same.items()}

    def _season_shares(
        self, rows: pd.DataFrame, answers: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, dict[str, float]]:
        """See train.kinds."""
        labels = self.targets(rows)[:, NAMES.index("season")].numpy()
        seasons = {"labels": labels} | {kind: of_kind["season"] for kind, of_kind in answers.items()}
        return label_shares(seasons, self.checkpoint.encoders.labels["season"])

    def answers(self, pooled: torch.Tensor) -> dict[str, np.ndarray]:
        """Pooled features (N, C) → attribute → the most probable class (N,)."""
        return classes(probabilities_of(self.model, pooled))

    def among(self, rows: pd.DataFrame) -> torch.Tensor:
        """Which of `self.rows` are among `rows`, bool."""
        return torch.from_numpy(self.rows.index.isin(rows.index)).to(next(self.model.parameters()).device)

    def _disturbances(
        self, rows: pd.DataFrame, sharp: SharpPhotographs
    ) -> tuple[dict[str, dict[str, float]], dict[str, torch.Tensor]]:
        """Disturbance → rows and the accuracy of each attribute, and → pooled features (N, C)."""
        maskable = rows[[product_mask(sharp[product]) is not None for product in rows["id"]]]
        found, pooled = {}, {}
        for name, (make, needs_mask) in DISTURBANCES.items():
            used = maskable if needs_mask else rows
            found[name] = {"rows": len(used)}
            if len(used):
                pooled[name] = self.sharp_features(sharp, used, make)
                answers, targets = self.answers(pooled[name]), self.targets(used).numpy()
                found[name] |= {n: float((answers[n] == targets[:, i]).mean()) for i, n in enumerate(NAMES)}
        return found, pooled

    def _fashion_figures(self, pooled: Mapping[str, torch.Tensor], others: OtherPictures) -> dict[str, Any]:
        """Kind of picture → how many there are and the share accepted as, or told from, a fashion product."""
        threshold = self.model.config.fashion_threshold
        flagged = self.fashion_scores(self.features(others)) < threshold
        accepted = {kind: self.fashion_scores(p) >= threshold for kind, p in pooled.items()}
        return {
            "accepted": {kind: {"pictures": len(a), "share": float(a.mean())} for kind, a in accepted.items()},
            "flagged": others.shares(flagged),
        }
