"""Put trained networks side by side in one checkpoint, which answers with the mean of their logits.

    python -m train join runs/ONE runs/OTHER --output runs/NAME

The networks keep their weights, and the heads are theirs, side by side too. What was fitted to each alone, `train
novelty` and `train calibrate` have to fit anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from fashion_model.attributes import NAMES
from fashion_model.backbones import BACKBONES, BESIDE
from fashion_model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from fashion_model.heads import LINEAR
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.side_by_side import side_by_side
from train.new_checkpoint import check_new, write_new
from train.trained_on import read_trained_on


def ensemble(networks: Sequence[Checkpoint]) -> MultiTaskClassifier:
    """The networks side by side. CheckpointError if they differ in more than their backbones, or none has this name."""
    backbone = BESIDE.join(network.config.backbone for network in networks)
    several = [name for name in BACKBONES if BESIDE in name]
    if backbone not in several:
        raise CheckpointError(f"there is no backbone {backbone} of several; there is {', '.join(several)}")
    first = networks[0]
    config = _comparable(first, backbone)
    for network in networks:
        if network.encoders != first.encoders:
            raise CheckpointError(f"{network.name} has other labels than {first.name}")
        if network.config.heads != LINEAR:
            raise CheckpointError(f"{network.name} has {network.config.heads} heads; only {LINEAR} ones can be joined")
        own, wanted = _comparable(network, backbone).to_dict(), config.to_dict()
        differing = {key: (own[key], wanted[key]) for key in own if own[key] != wanted[key]}
        if differing:
            raise CheckpointError(f"{network.name} differs from {first.name} (its own value, the other's): {differing}")
    model = MultiTaskClassifier(config)
    model.backbone = side_by_side([network.model.backbone for network in networks])
    heads = [network.model.heads.linear for network in networks]
    with torch.no_grad():
        for name in NAMES:
            weights = torch.cat([head[name].weight for head in heads], dim=1)
            model.heads.linear[name].weight.copy_(weights / len(heads))
            model.heads.linear[name].bias.copy_(sum(head[name].bias for head in heads) / len(heads))
    return model.eval()


def _comparable(network: Checkpoint, backbone: str) -> ModelConfig:
    """Its configuration with another backbone, without what is fitted after training and what only training needs."""
    return dataclasses.replace(network.config.unfitted(), backbone=backbone, dropout=ModelConfig.dropout)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train join", description=__doc__.split("\n")[0])
    parser.add_argument("networks", type=Path, nargs="+", help="checkpoint directories, in the backbone's order")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint directory to write")
    options = parser.parse_args(arguments)
    try:
        check_new(options.output)
        trained_on = set().union(*map(read_trained_on, options.networks))
        networks = [load_checkpoint(directory) for directory in options.networks]
        write_new(options.output, ensemble(networks), networks[0].encoders, trained_on)
    except (CheckpointError, OSError) as error:
        print(f"join: {error}", file=sys.stderr)
        return 2
    return 0
