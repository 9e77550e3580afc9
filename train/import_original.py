"""Turn a checkpoint of the project this one grew from into a checkpoint directory.

    python -m train import_original model_efficientnet.pth label_encoders.json --output runs/original

The network is EfficientNetV2-S with four linear heads, and gives the same logits for the same input tensor. The input
is made as everywhere here: letterboxed, and normalised as in that project's training, which its own inference forgot.
What tells fashion products from other pictures that project lacks: all count as fashion. The file is opened without
unpickling code.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from fashion_model.attributes import ATTRIBUTES, LabelEncoders
from fashion_model.checkpoint import CheckpointError, save_checkpoint
from fashion_model.model import ModelConfig, MultiTaskClassifier

HEADS = {"color_head": "color", "type_head": "product_type", "season_head": "season", "gender_head": "gender"}


def renamed(key: str) -> str:
    """`backbone.features.0.1.weight` → `backbone.0.1.weight`, `type_head.1.bias` → `heads.linear.product_type.bias`."""
    if key.startswith("backbone.features."):
        return key.replace("features.", "", 1)
    head, _, rest = key.partition(".")
    layer, _, parameter = rest.partition(".")
    if head in HEADS and layer == "1":
        return f"heads.linear.{HEADS[head]}.{parameter}"
    raise CheckpointError(f"unexpected tensor {key}; a checkpoint has backbone.features.* and {', '.join(HEADS)}")


def import_original(
    weights: Path, labels: Path, image_size: tuple[int, int]
) -> tuple[MultiTaskClassifier, LabelEncoders]:
    """The network and its labels. CheckpointError if the files are not what that project wrote."""
    try:
        encoders = LabelEncoders.load(labels)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{labels}: {error}") from error
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{weights} cannot be opened as weights: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise CheckpointError(f"{weights} does not hold a state dict")
    config = ModelConfig.for_backbone("efficientnet_v2_s", encoders.num_classes, image_size=image_size)
    model = MultiTaskClassifier(config)
    own = model.fashion.state_dict(prefix="fashion.")  # what the original does not have
    try:
        model.load_state_dict({renamed(key): tensor for key, tensor in state.items()} | own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit {labels}: {error}") from error
    return model.eval(), encoders


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train import_original", description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="its model_efficientnet.pth")
    parser.add_argument(
        "labels", type=Path, help=f"its label_encoders.json, with {', '.join(a.column for a in ATTRIBUTES)}"
    )
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint directory to write")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(224, 224))
    options = parser.parse_args(arguments)
    try:
        if options.output.exists():
            raise CheckpointError(f"{options.output} exists already; figures in it would be taken for this network's")
        model, encoders = import_original(options.weights, options.labels, tuple(options.image_size))
    except ValueError as error:  # CheckpointError, or an image size that cannot be
        print(f"import_original: {error}", file=sys.stderr)
        return 2
    save_checkpoint(options.output, model, encoders)
    print(f"{options.output}: run train calibrate and train evaluate on it")
    return 0
