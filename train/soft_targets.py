"""Ask a checkpoint for its answers to the training split's thumbnails, for `train fit --soft-targets` to learn from.

python -m train soft_targets --checkpoint runs/NAME --data data/ --output soft_targets.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from data_prep.splits import TRAIN
from fashion_model.attributes import ATTRIBUTES, LabelEncoders
from fashion_model.checkpoint import CheckpointError, load_checkpoint
from train.dataset import DataError, read_photographs, read_table, rows_of_split
from train.distillation import save_soft_targets
from train.evaluation import features_of, probabilities_of


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train soft_targets", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="a directory, or user/repo on the Hub")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare photographs")
    options = parser.parse_args(arguments)
    try:
        rows = rows_of_split(read_table(options.data), TRAIN)
        checkpoint = load_checkpoint(options.checkpoint)
        if checkpoint.encoders != LabelEncoders.fit({a.column: rows[a.column] for a in ATTRIBUTES}):
            raise CheckpointError(f"{checkpoint.name} has other labels than the training split")
        model = checkpoint.model.to(options.device, memory_format=torch.channels_last)
        pooled = features_of(model, read_photographs(options.data, rows), options.workers)
        probabilities = {name: torch.from_numpy(p) for name, p in probabilities_of(model, pooled).items()}
        save_soft_targets(options.output, rows["id"].tolist(), probabilities)
    except (CheckpointError, DataError, OSError) as error:
        print(f"soft_targets: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(rows):,} photographs")
    return 0
