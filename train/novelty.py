"""Teach a checkpoint to tell what is not a fashion product.

    python -m train novelty --checkpoint runs/NAME --data data/ --others data/other [--sharp images-480.zip …]

Stores what its training photographs' features look like with the weights, which are then in half precision, and in
config.json the threshold that accepts 97 % of the validation split's photographs of either kind. Prints how this score
compares with others that are common, on the validation half of what data_prep.other_pictures collects.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.transforms import v2

from data_prep.splits import TRAIN, VALIDATION
from fashion_model.checkpoint import LARGEST_FILE, CheckpointError, save_checkpoint
from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import train_transform
from train.augment import RandomBackground, RandomLight
from train.dataset import DataError, read_photographs, rows_of_split
from train.evaluate import add_common_arguments, prepare
from train.evaluation import Evaluation
from train.others import OtherPictures
from train.tables import markdown_table
from train.versions import SharpPhotographs

ACCEPT = 0.97  # of the validation split's photographs
KNOWN = 6000  # training photographs that the subspace is taken from
NEIGHBOUR = 50

Score = Callable[[torch.Tensor], torch.Tensor]  # pooled features (N, C) → (N,), higher for fashion products


def candidates(model: MultiTaskClassifier, known: torch.Tensor) -> dict[str, Score]:
    """Scores after the literature, to compare with ours. known (N, C): features of training photographs."""

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(dim=1, keepdim=True)

    def neighbour(x: torch.Tensor) -> torch.Tensor:
        return (unit(x) @ unit(known).T).topk(min(NEIGHBOUR, len(known)), dim=1).values[:, -1]

    def certainty(x: torch.Tensor) -> torch.Tensor:
        return sum(logits.log_softmax(dim=1).amax(dim=1) for logits in model.heads(x).values())

    def signs(x: torch.Tensor) -> torch.Tensor:
        return model.familiarity.signs(x, model.heads(x))

    return {
        "largest probabilities (Hendrycks & Gimpel 2017)": certainty,
        "energy (Liu et al. 2020)": lambda x: signs(x)[:, 1],
        f"neighbour {NEIGHBOUR} (Sun et al. 2022)": neighbour,
        "residual (Ndiour et al. 2020)": lambda x: (signs(x)[:, 0] - 1) * x.norm(dim=1),
        "residual relative to the length": lambda x: signs(x)[:, 0],
        "the last and energy (this one)": model.fashion_scores,
    }


class Recogniser:
    """A checkpoint and the photographs it is to accept or to refuse."""

    def __init__(self, evaluation: Evaluation, sharp: SharpPhotographs | None, refused: OtherPictures):
        self.evaluation, self.refused = evaluation, refused
        self.model = evaluation.model
        self.accepted = [evaluation.features(evaluation.thumbnails())]  # pooled features (N, C) of each kind
        if sharp is not None:
            self.accepted.append(evaluation.sharp_features(sharp, evaluation.rows_with(sharp)))
        self.others = evaluation.features(refused)

    def known_features(self, seed: int = 0) -> torch.Tensor:
        """(N, C) of training photographs, some before other backgrounds and under other lamps."""
        torch.manual_seed(seed)
        rows = rows_of_split(self.evaluation.table, TRAIN)
        photographs = read_photographs(self.evaluation.data, rows.sample(min(KNOWN, len(rows)), random_state=seed))
        augmentations = [v2.RandomApply([RandomBackground(photographs)], 0.3), v2.RandomApply([RandomLight()], 0.3)]
        return self.evaluation.features(photographs, train_transform(self.model.config, augmentations))

    @torch.inference_mode()
    def threshold(self, score: Score) -> float:
        """The largest that accepts the share `ACCEPT` of each kind of photograph."""
        return min(float(score(x).quantile(1 - ACCEPT)) for x in self.accepted)

    @torch.inference_mode()
    def table(self, known: torch.Tensor) -> str:
        """Markdown: the share of pictures that each candidate refuses, of each kind, at its threshold."""
        rows = {}
        for name, score in candidates(self.model, known).items():
            refused = (score(self.others) < self.threshold(score)).cpu().numpy()
            rows[name] = self.refused.shares(refused)
        kinds = next(iter(rows.values()))
        cells = [(name, *(f"{100 * k['share']:.1f}" for k in shares.values())) for name, shares in rows.items()]
        return markdown_table(("refused, %", *kinds), cells)


def fit_familiarity(recogniser: Recogniser, directory: Path) -> torch.Tensor:
    """Store the subspace and the threshold in `directory`, in half precision. Returns the known features (N, C)."""
    known, model = recogniser.known_features(), recogniser.model
    with torch.inference_mode():
        model.familiarity.fit(known, model.heads(known))
    model.familiarity.half().float()  # as it will be loaded, so that the threshold fits
    model.config = dataclasses.replace(model.config, fashion_threshold=recogniser.threshold(model.fashion_scores))
    save_checkpoint(directory, model, recogniser.evaluation.checkpoint.encoders, torch.float16, LARGEST_FILE)
    return known


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train novelty", description=__doc__.split("\n")[0])
    add_common_arguments(parser)
    parser.add_argument("--others", type=Path, required=True, metavar="DIR", help="what data_prep.other_pictures wrote")
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, VALIDATION)
        recogniser = Recogniser(evaluation, sharp, OtherPictures(options.others / VALIDATION))
        known = fit_familiarity(recogniser, options.checkpoint)
    except (CheckpointError, DataError, OSError) as error:
        print(f"novelty: {error}", file=sys.stderr)
        return 2
    print(recogniser.table(known))
    print(f"\nthreshold {evaluation.model.config.fashion_threshold:.4f}")
    return 0
