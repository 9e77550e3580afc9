"""The network that a run starts with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.checkpoint import CheckpointError, load_checkpoint, weight_files
from fashion_model.models.backbones import WeightsError, file_state, imagenet_state, load_state
from fashion_model.models.config import ModelConfig
from fashion_model.models.multitask import MultiTaskClassifier
from train.data.table import read_trained_on
from train.fit.config import IMAGENET, NO_WEIGHTS, FitConfig


@dataclass(frozen=True)
class InitialModel:
    model: MultiTaskClassifier
    trained_on: set[int]  # product ids behind the weights
    digests: list[str]  # of the checkpoint's weights


def build_model(config: FitConfig, attributes: tuple[Attribute, ...], encoders: LabelEncoders) -> InitialModel:
    """The network with `config.weights`. WeightsError or CheckpointError if they do not fit."""
    model_config = ModelConfig.for_backbone(
        config.backbone,
        attributes,
        encoders.num_classes,
        image_size=config.image_size,
        dropout=config.dropout,
        heads=config.heads,
        experts=config.experts,
    )
    model = MultiTaskClassifier(model_config)
    trained_on, digests = set(), []
    if Path(config.weights).is_dir():
        trained_on, digests = _load_checkpoint_weights(model, Path(config.weights), encoders)
    elif config.weights == IMAGENET:
        load_state(model.backbone, imagenet_state(config.backbone, config.image_size), "ImageNet weights")
    elif config.weights != NO_WEIGHTS:
        load_state(model.backbone, file_state(Path(config.weights)), config.weights)
    try:
        frozen = model.backbone.first_stages(config.frozen_stages)
    except ValueError as error:
        raise WeightsError(f"frozen_stages: {error}") from error
    for module in frozen:
        module.requires_grad_(False)
    return InitialModel(model, trained_on, digests)


def _load_checkpoint_weights(
    model: MultiTaskClassifier, directory: Path, encoders: LabelEncoders
) -> tuple[set[int], list[str]]:
    checkpoint = load_checkpoint(directory)
    if checkpoint.encoders != encoders:
        raise CheckpointError(f"{directory} has other attributes or labels than this run")
    theirs, ours = (
        f"backbone {c.backbone}, {c.heads} heads, {c.experts} experts" for c in (checkpoint.config, model.config)
    )
    if theirs != ours:
        raise CheckpointError(f"{checkpoint.name} has {theirs}; this run has {ours}")
    try:
        model.load_state_dict(checkpoint.model.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.name} was trained for another input size: {error}") from error
    return read_trained_on(directory), [hashlib.sha256(p.read_bytes()).hexdigest() for p in weight_files(directory)]
