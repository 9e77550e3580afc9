"""Put trained networks side by side in one checkpoint, which answers with the mean of their logits.

    python -m train join runs/ONE runs/OTHER --output runs/NAME

The networks keep their weights, and the heads are theirs, side by side too. What was fitted to each alone, `train
novelty` and `train calibrate` have to fit anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from fashion_model.attributes import NAMES
from fashion_model.backbones import BACKBONES, BESIDE
from fashion_model.checkpoint import LARGEST_FILE, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from fashion_model.heads import LINEAR
from fashion_model.model import MultiTaskClassifier
from fashion_model.side_by_side import side_by_side
from train.trained_on import read_trained_on, write_trained_on


def joined(networks: Sequence[Checkpoint]) -> MultiTaskClassifier:
    """The networks side by side. CheckpointError if they differ in more than their backbones, or none has this name."""
    backbone = BESIDE.join(network.config.backbone for network in networks)
    several = [name for name in BACKBONES if BESIDE in name]
    if backbone not in several:
        raise CheckpointError(f"there is no backbone {backbone} of several; there is {', '.join(several)}")
    configs = [network.config.unfitted(backbone=backbone) for network in networks]
    first = networks[0]
    for network, config in zip(networks, configs, strict=True):
        if network.encoders != first.encoders:
            raise CheckpointError(f"{network.name} has other labels than {first.name}")
        if config.heads != LINEAR:
            raise CheckpointError(f"{network.name} has {config.heads} heads; only {LINEAR} ones can be joined")
        if config != configs[0]:
            raise CheckpointError(f"{network.name} looks at photographs otherwise than {first.name}")
    model = MultiTaskClassifier(configs[0])
    model.backbone = side_by_side([network.model.backbone for network in networks])
    heads = [network.model.heads.linear for network in networks]
    with torch.no_grad():
        for name in NAMES:
            weights = torch.cat([head[name].weight for head in heads], dim=1)
            model.heads.linear[name].weight.copy_(weights / len(heads))
            model.heads.linear[name].bias.copy_(sum(head[name].bias for head in heads) / len(heads))
    return model.eval()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train join", description=__doc__.split("\n")[0])
    parser.add_argument("networks", type=Path, nargs="+", help="checkpoint directories, in the backbone's order")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint directory to write")
    options = parser.parse_args(arguments)
    try:
        if options.output.exists():
            raise CheckpointError(f"{options.output} exists already; figures in it would be taken for this network's")
        trained_on = set().union(*map(read_trained_on, options.networks))
        networks = [load_checkpoint(directory) for directory in options.networks]
        model = joined(networks)
        save_checkpoint(options.output, model, networks[0].encoders, torch.float16, LARGEST_FILE)
        write_trained_on(options.output, trained_on)
    except (CheckpointError, OSError) as error:
        print(f"join: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: run train novelty, train calibrate and train evaluate on it")
    return 0
