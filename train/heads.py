"""Fit a mixture of experts beside the linear heads of a trained checkpoint, to features that stay as they are.

    python -m train heads --checkpoint runs/NAME --data data/ --output runs/OTHER

The backbone looks once at each training thumbnail, as in use; that takes the time, eleven minutes on two cores
for two networks side by side and mirror images. The mixture learns the labels from these features alone, without
knowing what the linear heads say, and both have their say afterwards (`fashion_model.heads.BothHeads`). It has seen
neither sharp photographs nor other lamps and backgrounds, only the backbone has: `train evaluate` shows what comes of
that. How it is fitted was chosen on the validation split.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from data_prep.splits import TRAIN
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import CheckpointError, load_checkpoint
from fashion_model.heads import BOTH, LINEAR, MixtureHeads
from fashion_model.model import ModelConfig, MultiTaskClassifier
from train.dataset import DataError, encode_targets, read_photographs, read_table, rows_of_split
from train.evaluation import features_of
from train.fit_config import EXPERTS
from train.new_checkpoint import check_new, write_new
from train.trained_on import read_trained_on

EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 16, 256, 1e-3, 0.05
DROPOUT = 0.5  # of the features, and of what is taken of the experts
LEAST_STD = 0.01  # of a feature that is used; a smaller one would make weights that half precision cannot hold


def fit_mixture(
    pooled: torch.Tensor, targets: torch.Tensor, num_classes: Mapping[str, int], experts: int, seed: int = 0
) -> MixtureHeads:
    """Heads for features (N, C), N at least 2, fitted to targets (N, 4), -1 for unknown labels; on their device.

    Features that hardly vary here are not looked at. Seeds torch's generator.
    """
    torch.manual_seed(seed)
    std, mean = torch.std_mean(pooled, dim=0)
    one_over_std = torch.where(std < LEAST_STD, 0, 1 / std)
    standardised = (pooled - mean) * one_over_std
    heads = MixtureHeads(pooled.shape[1], num_classes, DROPOUT, experts).to(pooled.device).train()
    optimizer = torch.optim.AdamW(heads.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(pooled) // BATCH_SIZE)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    for _ in tqdm(range(EPOCHS), desc="fitting", unit="epoch", disable=None):
        for batch in torch.randperm(len(pooled)).split(BATCH_SIZE):
            logits = heads(functional.dropout(standardised[batch], DROPOUT))
            loss = sum(
                functional.cross_entropy(logits[name], targets[batch, i], ignore_index=-1)
                for i, name in enumerate(NAMES)
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
    for layer in (heads.experts, *heads.gates.values()):
        _fold_standardisation(layer, mean, one_over_std)
    return heads.eval()


@torch.no_grad()
def _fold_standardisation(layer: nn.Linear, mean: torch.Tensor, one_over_std: torch.Tensor) -> None:
    """Make a layer for standardised features one for features as they are."""
    layer.weight *= one_over_std
    layer.bias -= layer.weight @ mean


def beside(linear: MultiTaskClassifier, mixture: MixtureHeads, config: ModelConfig) -> MultiTaskClassifier:
    """A network of `config` with the backbone and the linear heads of one, and the mixture beside these."""
    model = MultiTaskClassifier(config)
    model.backbone.load_state_dict(linear.backbone.state_dict())
    model.heads.linear.load_state_dict(linear.heads.state_dict())
    model.heads.mixture.load_state_dict(mixture.state_dict())
    return model.eval()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train heads", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory, with linear heads")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint directory to write")
    parser.add_argument("--experts", type=int, default=EXPERTS, help=f"at least 2; {EXPERTS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare photographs")
    options = parser.parse_args(arguments)
    try:
        check_new(options.output)
        trained_on = read_trained_on(options.checkpoint)
        checkpoint = load_checkpoint(options.checkpoint)
        if checkpoint.config.heads != LINEAR:
            raise CheckpointError(f"{checkpoint.name} has {checkpoint.config.heads} heads; it needs {LINEAR} ones")
        try:
            config = dataclasses.replace(checkpoint.config.unfitted(), heads=BOTH, experts=options.experts)
        except ValueError as error:
            parser.error(str(error))
        rows = rows_of_split(read_table(options.data), TRAIN)
        model = checkpoint.model.to(options.device, memory_format=torch.channels_last)
        pooled = features_of(model, read_photographs(options.data, rows), options.workers)
        targets = encode_targets(rows, checkpoint.encoders).to(pooled.device)
        mixture = fit_mixture(pooled, targets, config.num_classes, config.experts, options.seed)
        write_new(options.output, beside(model, mixture, config), checkpoint.encoders, trained_on | set(rows["id"]))
    except (CheckpointError, DataError, OSError) as error:
        print(f"heads: {error}", file=sys.stderr)
        return 2
    return 0
