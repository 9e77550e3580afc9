"""Average the weights of checkpoints that started from the same weights (model soup, Wortsman et al., ICML 2022).

Train the heads again on the averaged backbone: `train fit --weights MEAN --epochs 0 --linear-probe-steps 500`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fashion_model.checkpoint import MAX_SHARD_SIZE, CheckpointError, load_checkpoint, save_checkpoint
from train.data.table import read_trained_on, write_trained_on


@dataclass(frozen=True)
class Config:
    checkpoints: tuple[Path, ...]  # directories that `train fit` wrote
    output: Path  # the checkpoint directory to write


def run(config: Config) -> None:
    average_checkpoints(config.checkpoints, config.output)
    print(f"{config.output}: the mean of {len(config.checkpoints)}")


def average_checkpoints(directories: tuple[Path, ...], output: Path) -> None:
    """Write their mean with the configuration of the first. CheckpointError if labels or networks differ."""
    trained_on = set().union(*map(read_trained_on, directories))
    first, *others = map(load_checkpoint, directories)
    states = [first.model.state_dict(), *(other.model.state_dict() for other in others)]
    shapes = [{key: tensor.shape for key, tensor in state.items()} for state in states]
    for other, of_other in zip(others, shapes[1:], strict=True):
        if other.encoders != first.encoders or other.config.backbone != first.config.backbone or of_other != shapes[0]:
            raise CheckpointError(f"{other.name} and {first.name} are different networks or have different labels")
    mean = {key: sum(state[key].double() for state in states) / len(states) for key in shapes[0]}
    first.model.load_state_dict(mean)
    write_trained_on(output, trained_on)
    save_checkpoint(output, first.model, first.encoders, torch.float16, MAX_SHARD_SIZE)
