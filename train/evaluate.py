"""Measure a checkpoint on a split it was not trained on.

    python -m train evaluate --checkpoint runs/NAME --data data/ --split test [--sharp data/sharp …]
        [--others data/other]

Measures phone photographs, pictures on models, composites and everyday pictures if the data folder has them (see
train/visitors.py), then the catalogue. Prints the tables and writes them to metrics.json and the model card, README.md,
in the checkpoint directory (elsewhere with --output, and then no card). Rows of the catalogue whose picture the
checkpoint was trained on, by its trained_on.txt, are left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from data_prep.splits import TEST, VALIDATION
from fashion_model.checkpoint import METRICS, CheckpointError, write_json
from train.card import CARD, model_card
from train.dataset import DataError
from train.evaluation import Evaluation, digest_of
from train.others import OtherPictures
from train.tables import markdown
from train.trained_on import TRAINED_ON
from train.versions import SharpPhotographs
from train.visitors import visitor_metrics


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
    evaluation = Evaluation(options.checkpoint, options.data, split, options.device, options.workers)
    if sharp is not None:
        evaluation.rows_with(sharp)  # an error now rather than after minutes
    return evaluation, sharp


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--split", choices=(VALIDATION, TEST), default=TEST)
    add_common_arguments(parser)
    parser.add_argument("--others", type=Path, metavar="DIR", help="also what data_prep.other_pictures wrote there")
    parser.add_argument("--output", type=Path, help="where to write the figures; metrics.json in the checkpoint")
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, options.split)
        if not evaluation.knows_trained_on:
            print(f"The checkpoint has no {TRAINED_ON}: whether it was trained on these pictures is not known.")
        others = OtherPictures(options.others / options.split) if options.others else None
        metrics = {
            "digest": digest_of(options.checkpoint),
            "visitors": visitor_metrics(evaluation),
            **evaluation.run(sharp, others),
        }
        output = options.output or options.checkpoint / METRICS
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, metrics)
        if not options.output:
            card = model_card(evaluation.model.config, metrics)
            (options.checkpoint / CARD).write_text(card, encoding="utf-8")
    except (CheckpointError, DataError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(markdown(metrics))
    return 0
