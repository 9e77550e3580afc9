"""The command `evaluate`, and metrics.json: what was measured of a checkpoint, a section for each split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from data_prep.phone_photographs import COARSE
from data_prep.photographs import HIGH_RESOLUTION
from data_prep.splits import TEST
from fashion_model.attributes import PRODUCT_TYPE
from fashion_model.checkpoint import CARD, DIGESTS, METRICS, CheckpointError, read_json, write_json
from fashion_model.system import write_text
from train.data.domains import PHONE, THUMBNAILS, table_of
from train.data.table import TRAINED_ON, DataError
from train.evaluate.card import START, model_card
from train.evaluate.finder import finder_metrics
from train.evaluate.metrics import attribute_metrics, share
from train.evaluate.predictions import DomainPredictions, SplitPredictions, checkpoint_digests, predict_split
from train.evaluate.tables import ACCESSORIES, markdown

SPLITS = "splits"  # key of metrics.json


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    split: Literal["validation", "test"] = TEST
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def evaluate(config: Config) -> None:
    """Measure a checkpoint on a split that it was not trained on.

    Runs the network over every domain of the data folder, saves its outputs to predictions/SPLIT.safetensors, prints
    the tables, and writes the metrics to metrics.json and, for the test split, to the model card README.md.
    """
    card = config.checkpoint / CARD
    if config.split == TEST and card.is_file() and START not in card.read_text(encoding="utf-8", errors="replace"):
        raise DataError(f"{card} is not a model card of this command, which would replace it; move it elsewhere")
    predictions = predict_split(config.checkpoint, config.data, config.split, config.device, config.workers)
    if not predictions.trained_on_known:
        print(f"The checkpoint has no {TRAINED_ON}: whether it was trained on these pictures is not known.")
    metrics = split_metrics(predictions, config.data)
    write_split_metrics(config.checkpoint, config.split, metrics)
    if config.split == TEST:
        write_text(card, model_card(config.checkpoint, metrics))
    print(markdown(predictions.config.attributes, metrics, config.split))


def read_metrics(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Split → metrics. CheckpointError if metrics.json is missing, damaged, or belongs to another checkpoint."""
    path = checkpoint / METRICS
    try:
        document = read_json(path)
        digests, splits = document[DIGESTS], dict(document[SPLITS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; run train evaluate first") from error
    if digests != checkpoint_digests(checkpoint):
        raise CheckpointError(f"{path} belongs to other weights or another calibration; run train evaluate")
    return splits


def write_split_metrics(checkpoint: Path, split: str, metrics: Mapping[str, Any]) -> None:
    """Add a section to metrics.json. Sections of other weights or another calibration are dropped."""
    try:
        others = read_metrics(checkpoint)
    except CheckpointError:
        others = {}
    write_json(checkpoint / METRICS, {DIGESTS: checkpoint_digests(checkpoint), SPLITS: others | {split: metrics}})


def with_accessories(domains: Mapping[str, DomainPredictions]) -> dict[str, DomainPredictions]:
    """The domains, and the accessories of those in `ACCESSORIES` as domains of their own."""
    parts = {}
    for name, part in ACCESSORIES.items():
        if name in domains and (chosen := domains[name].accessories) is not None and chosen.any():
            parts[part] = domains[name][chosen]
    return {**domains, **parts}


def split_metrics(predictions: SplitPredictions, data: Path) -> dict[str, Any]:
    """`data`: the folder that the predictions were made from; it has the contributors' own labels."""
    domains = with_accessories(predictions.domains)
    metrics: dict[str, Any] = {
        "rows_left_out": predictions.rows_left_out,
        "trained_on_known": predictions.trained_on_known,
        "domains": {name: domain_metrics(predictions, domain) for name, domain in domains.items()},
    }
    if PHONE in domains and PRODUCT_TYPE in predictions.encoders.labels:
        metrics["coarse_label"] = coarse_label_metrics(predictions, data)
    if HIGH_RESOLUTION in domains:
        metrics["agreement"] = agreement(domains[THUMBNAILS], domains[HIGH_RESOLUTION])
    if predictions.config.finder:
        metrics["finder"] = finder_metrics(predictions.checkpoint, data, predictions.split)
    return metrics


def domain_metrics(predictions: SplitPredictions, domain: DomainPredictions) -> dict[str, Any]:
    """`recognized`: the share of images that count as fashion products; `attributes`: those with known labels."""
    attributes = {
        name: attribute_metrics(p, domain.accepted[name], domain.groups)
        for name, p in domain.probabilities(predictions.config).items()
    }
    gates = {
        name: {"mean": g.mean(axis=0).tolist(), "deviation": g.std(axis=0).tolist()} for name, g in domain.gates.items()
    }
    return {
        "images": len(domain),
        "groups": len(set(domain.groups)),
        "is_fashion": domain.is_fashion,
        "recognized": share(domain.fashion_scores >= predictions.config.fashion_threshold, domain.groups),
        "attributes": {name: metrics for name, metrics in attributes.items() if metrics},
    } | ({"gates": gates} if gates else {})


def coarse_label_metrics(predictions: SplitPredictions, data: Path) -> dict[str, Any]:
    """How often the product type of a phone photograph is accepted for the contributor's own, coarse label."""
    domain = predictions.domains[PHONE]
    contributed = table_of(data, PHONE, predictions.split)["contributed_label"].to_numpy()
    types = np.array(predictions.encoders.labels[PRODUCT_TYPE])[domain.predicted[PRODUCT_TYPE]]
    known = np.isin(contributed, list(COARSE))
    accepted = np.array([t in COARSE.get(label, ()) for t, label in zip(types, contributed, strict=True)], dtype=bool)
    return share(accepted[known], domain.groups[known]) if known.any() else {}


def agreement(thumbnails: DomainPredictions, photographs: DomainPredictions) -> dict[str, float]:
    """Attribute → how often the thumbnail and the photograph of a product get the same label."""
    rows = pd.Index(thumbnails.names).get_indexer(photographs.names)
    predicted = thumbnails.predicted
    return {name: float((predicted[name][rows] == label).mean()) for name, label in photographs.predicted.items()}
