"""Give a trained checkpoint a mixture of experts beside its linear heads, fitted to features that stay as they are.

    python -m train heads --checkpoint runs/NAME --data data/

The backbone looks once at each training photograph, as in use; that takes the time, a quarter of an hour on two cores
for two networks side by side and mirror images. The mixture learns the labels from that alone, without knowing what the
linear heads say, and both have their say afterwards (`fashion_model.heads.BothHeads`). Fitted anew if there is one.
What was fitted to the answers before, `train novelty` and `train calibrate` have to fit anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from data_prep.splits import TRAIN
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import LARGEST_FILE, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from fashion_model.heads import BOTH, LINEAR, MixtureHeads, build_heads, check_heads
from fashion_model.model import MultiTaskClassifier
from train.dataset import encode_targets, read_photographs, read_table, rows_of_split
from train.evaluation import features_of
from train.trained_on import read_trained_on, write_trained_on

EXPERTS, EPOCHS = 4, 16
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 256, 1e-3, 0.05
LEAST_STD = 0.01  # of a feature; a smaller one would make weights that half precision cannot hold
DROPOUT = 0.5  # of the features, and of what is taken of the experts


def fit_mixture(
    pooled: torch.Tensor, targets: torch.Tensor, num_classes: dict[str, int], experts: int = EXPERTS, seed: int = 0
) -> MixtureHeads:
    """Pooled features (N, C) and targets (N, 4), -1 for unknown labels → heads for features as they are."""
    torch.manual_seed(seed)
    std, mean = torch.std_mean(pooled, dim=0)
    std = std.clamp_min(LEAST_STD)
    standardised = (pooled - mean) / std
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
        _take_in(layer, mean, std)
    return heads.eval()


@torch.no_grad()
def _take_in(layer: nn.Linear, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Make a layer for standardised features one for features as they are."""
    layer.weight /= std
    layer.bias -= layer.weight @ mean


def with_mixture(checkpoint: Checkpoint, mixture: MixtureHeads, experts: int) -> MultiTaskClassifier:
    """The checkpoint's network, with the mixture beside its linear heads."""
    config, heads = checkpoint.config, checkpoint.model.heads
    linear = heads if config.heads == LINEAR else heads.linear
    model = checkpoint.model
    model.config = config.unfitted(heads=BOTH, experts=experts)
    channels = mixture.experts.in_features
    model.heads = build_heads(BOTH, channels, config.num_classes, config.dropout, experts)
    model.heads.linear.load_state_dict(linear.state_dict())
    model.heads.mixture.load_state_dict(mixture.state_dict())
    return model.eval()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train heads", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--experts", type=int, default=EXPERTS, help=f"at least 2; {EXPERTS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare photographs")
    options = parser.parse_args(arguments)
    try:
        check_heads(BOTH, options.experts)
        if not options.checkpoint.is_dir():
            raise CheckpointError(f"{options.checkpoint} is not a directory")
        trained_on = read_trained_on(options.checkpoint)
        checkpoint = load_checkpoint(options.checkpoint)
        if checkpoint.config.heads not in (LINEAR, BOTH):
            raise CheckpointError(f"{checkpoint.name} has {checkpoint.config.heads} heads, no linear ones")
        rows = rows_of_split(read_table(options.data), TRAIN)
        backbone = checkpoint.model.to(options.device, memory_format=torch.channels_last)
        pooled = features_of(backbone, read_photographs(options.data, rows), options.workers)
        targets = encode_targets(rows, checkpoint.encoders).to(pooled.device)
        mixture = fit_mixture(pooled, targets, checkpoint.config.num_classes, options.experts, options.seed)
        model = with_mixture(checkpoint, mixture, options.experts)
        save_checkpoint(options.checkpoint, model, checkpoint.encoders, torch.float16, LARGEST_FILE)
        write_trained_on(options.checkpoint, trained_on | set(rows["id"]))
    except (ValueError, OSError) as error:
        print(f"heads: {error}", file=sys.stderr)
        return 2
    print(f"{options.checkpoint}: run train novelty, train calibrate and train evaluate on it")
    return 0
