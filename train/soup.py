"""Average the weights of checkpoints that began with the same weights (model soup, Wortsman et al., ICML 2022).

python -m train soup --checkpoints runs/FIRST runs/SECOND --output runs/MEAN

The heads follow the mean's features best when they are trained on them once more:
`train fit --weights runs/MEAN --epochs 0 --heads-steps 500`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from fashion_model.checkpoint import LARGEST_FILE, CheckpointError, load_checkpoint, save_checkpoint
from train.trained_on import read_trained_on, write_trained_on


def average_checkpoints(directories: Sequence[Path], output: Path) -> None:
    """Write the mean of their weights, with the configuration of the first of them and what any was trained on.

    CheckpointError if they differ in their labels or their network.
    """
    trained_on = set().union(*map(read_trained_on, directories))
    first, *others = map(load_checkpoint, directories)
    states = [first.model.state_dict(), *(other.model.state_dict() for other in others)]
    shapes = [{key: tensor.shape for key, tensor in state.items()} for state in states]
    for other, of_other in zip(others, shapes[1:], strict=True):
        if other.encoders != first.encoders or other.config.backbone != first.config.backbone or of_other != shapes[0]:
            raise CheckpointError(f"{other.name} and {first.name} are different networks or have different labels")
    mean = {key: sum(state[key].double() for state in states) / len(states) for key in shapes[0]}
    first.model.load_state_dict(mean)  # which rounds them to the type of each
    write_trained_on(output, trained_on)
    save_checkpoint(output, first.model, first.encoders, torch.float16, LARGEST_FILE)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train soup", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="directories that `train fit` wrote")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint directory to write")
    options = parser.parse_args(arguments)
    try:
        average_checkpoints(options.checkpoints, options.output)
    except (CheckpointError, OSError) as error:
        print(f"soup: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: the mean of {len(options.checkpoints)}")
    return 0
