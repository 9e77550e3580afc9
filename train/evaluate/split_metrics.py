"""metrics.json: its schema, and the metrics of a split computed from the saved predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.photographs import EVERYDAY, HELD_OUT_TYPES, HIGH_RESOLUTION, ON_MODEL, source_group
from fashion_model.checkpoint import DIGESTS, METRICS, CheckpointError, read_json, write_json
from train.data.domains import NEGATIVES, PHONE, THUMBNAILS, on_model_table, phone_table
from train.evaluate.domains import PASTED
from train.evaluate.metrics import LabeledPredictions, calibration_noise_floor, classification_metrics, intervals
from train.evaluate.partial_labels import coarse_label_metrics, partial_label_metrics, share
from train.evaluate.perturbations import COPIES, PERTURBATIONS
from train.evaluate.predictions import DomainPredictions, SplitPredictions, checkpoint_digests

BAGS_AND_WATCHES, CLOTHES_ON_MODELS = "bags_and_watches", "clothes_on_models"
PRODUCT_TYPE = "product_type"  # the attribute that contributors' coarse labels are about


@dataclass(frozen=True)
class SplitMetrics:
    """One section of metrics.json. A domain that the data folder lacks has an empty section."""

    rows_left_out: int  # of the catalogue, because the checkpoint was trained on their pictures
    trained_on_known: bool  # whether the checkpoint says what it was trained on
    thumbnails: dict[str, Any]
    phone: dict[str, Any] = field(default_factory=dict)
    bags_and_watches: dict[str, Any] = field(default_factory=dict)
    clothes_on_models: dict[str, Any] = field(default_factory=dict)
    pasted: dict[str, Any] = field(default_factory=dict)
    everyday: dict[str, Any] = field(default_factory=dict)
    negatives: dict[str, Any] = field(default_factory=dict)  # kind → images, share rejected
    high_resolution: dict[str, Any] = field(default_factory=dict)
    agreement: dict[str, Any] = field(default_factory=dict)  # copy → images, attribute name → share of equal labels
    perturbations: dict[str, Any] = field(default_factory=dict)  # name → images, attribute name → accuracy


@dataclass(frozen=True)
class Metrics:
    """metrics.json: what was measured of the checkpoint with these digests."""

    digests: dict[str, str]  # see predictions.checkpoint_digests; those of weights and labels are verified on loading
    splits: dict[str, SplitMetrics]


def read_metrics(checkpoint: Path) -> Metrics:
    """CheckpointError if metrics.json is missing, has another schema, or belongs to another checkpoint."""
    path = checkpoint / METRICS
    try:
        document = read_json(path)
        metrics = Metrics(
            document[DIGESTS], {name: SplitMetrics(**split) for name, split in document["splits"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; run train evaluate first") from error
    if metrics.digests != checkpoint_digests(checkpoint):
        raise CheckpointError(f"{path} belongs to other weights or another calibration; run train evaluate")
    return metrics


def write_split_metrics(checkpoint: Path, split: str, found: SplitMetrics) -> Metrics:
    """Add a section to metrics.json. Sections of other weights or another calibration are dropped."""
    try:
        others = read_metrics(checkpoint).splits
    except CheckpointError:
        others = {}
    metrics = Metrics(checkpoint_digests(checkpoint), others | {split: found})
    write_json(checkpoint / METRICS, dataclasses.asdict(metrics))
    return metrics


def split_metrics(predictions: SplitPredictions, data: Path) -> SplitMetrics:
    """`data`: the folder that the predictions were made from; it has contributors' labels and sources."""
    found = predictions.domains
    sections: dict[str, Any] = {THUMBNAILS: catalogue_metrics(predictions, found[THUMBNAILS])}
    if PHONE in found:
        sections[PHONE] = phone_metrics(predictions, found[PHONE], data)
    if ON_MODEL in found:
        of_image = on_model_table(data, predictions.split).set_index("image")["type"]
        held_out = of_image[found[ON_MODEL].names].isin(HELD_OUT_TYPES).to_numpy()
        for name, rows in ((BAGS_AND_WATCHES, held_out), (CLOTHES_ON_MODELS, ~held_out)):
            if rows.any():
                sections[name] = photograph_metrics(predictions, found[ON_MODEL][rows])
    if PASTED in found:
        sections[PASTED] = photograph_metrics(predictions, found[PASTED])
    if EVERYDAY in found:
        sections[EVERYDAY] = everyday_metrics(predictions, found[EVERYDAY])
    if NEGATIVES in found:
        sections[NEGATIVES] = negatives_metrics(predictions, found[NEGATIVES])
    if HIGH_RESOLUTION in found:
        sections[HIGH_RESOLUTION] = catalogue_metrics(predictions, found[HIGH_RESOLUTION])
        sections["agreement"] = agreement_metrics(found)
        sections["perturbations"] = {name: perturbation_metrics(found[name]) for name in PERTURBATIONS if name in found}
    return SplitMetrics(predictions.rows_left_out, predictions.trained_on_known, **sections)


def is_recognized(predictions: SplitPredictions, domain: DomainPredictions) -> np.ndarray:
    """(N,) bool: which images pass as fashion products."""
    return domain.fashion_scores >= predictions.config.fashion_threshold


def catalogue_metrics(predictions: SplitPredictions, domain: DomainPredictions) -> dict[str, Any]:
    """Of images with one label an attribute."""
    attributes: dict[str, Any] = {}
    for name, p in domain.probabilities(predictions.config.temperatures).items():
        known = domain.accepted[name].any(axis=1)
        if not known.any():
            continue
        labeled = LabeledPredictions.of(p[known], domain.accepted[name][known].argmax(axis=1))
        attributes[name] = {"images": len(labeled), **classification_metrics(labeled)}
        attributes[name] |= {
            "calibration_noise_floor": calibration_noise_floor(labeled),
            "intervals": intervals(labeled),
        }
    gates = {
        name: {"mean": g.mean(axis=0).tolist(), "deviation": g.std(axis=0).tolist()} for name, g in domain.gates.items()
    }
    return {
        "images": len(domain),
        "attributes": attributes,
        "nll_sum": sum(metrics["nll"] for metrics in attributes.values()),
        "recognized": float(is_recognized(predictions, domain).mean()),
    } | ({"gates": gates} if gates else {})


def photograph_metrics(predictions: SplitPredictions, domain: DomainPredictions) -> dict[str, Any]:
    """Of images that may have several accepted labels, with intervals over groups."""
    probabilities = domain.probabilities(predictions.config.temperatures)
    return {
        "images": len(domain),
        "groups": len(set(domain.groups)),
        "attributes": partial_label_metrics(probabilities, domain.accepted, domain.groups),
        "recognized": share(is_recognized(predictions, domain), domain.groups),
    }


def phone_metrics(predictions: SplitPredictions, domain: DomainPredictions, data: Path) -> dict[str, Any]:
    """`photograph_metrics`, and how often the product type fits the contributor's coarse label."""
    found = photograph_metrics(predictions, domain)
    if PRODUCT_TYPE not in predictions.encoders.labels:
        return found
    contributed = phone_table(data, predictions.split).set_index("image")["contributed_label"][domain.names]
    types = np.array(predictions.encoders.labels[PRODUCT_TYPE])[domain.predicted[PRODUCT_TYPE]]
    return found | {"coarse_label": coarse_label_metrics(types, contributed.to_numpy(), domain.groups)}


def everyday_metrics(predictions: SplitPredictions, domain: DomainPredictions) -> dict[str, Any]:
    """How often images without fashion products are rejected, in all and by their source."""
    rejected = ~is_recognized(predictions, domain)
    sources = np.array([source_group(name).split("-")[0] for name in domain.names])
    by_source = {
        str(source): share(rejected[sources == source], domain.groups[sources == source])
        for source in np.unique(sources)
    }
    return {"rejected": share(rejected, domain.groups), "by_source": by_source}


def negatives_metrics(predictions: SplitPredictions, domain: DomainPredictions) -> dict[str, Any]:
    """How often each kind of negative is rejected; `mean` is the mean over the kinds, whatever their size."""
    rejected = ~is_recognized(predictions, domain)
    kinds = np.array([name.split("-")[0] for name in domain.names])
    found = {
        str(kind): {"images": int((kinds == kind).sum()), "share": float(rejected[kinds == kind].mean())}
        for kind in np.unique(kinds)
    }
    mean = float(np.mean([kind["share"] for kind in found.values()]))
    return found | {"mean": {"images": len(domain), "share": mean}}


def agreement_metrics(domains: Mapping[str, DomainPredictions]) -> dict[str, Any]:
    """How often the high-resolution photograph and its copies get the same label, and all of them together."""
    reference = domains[HIGH_RESOLUTION]
    rows = {product: i for i, product in enumerate(domains[THUMBNAILS].products)}
    thumbnails = domains[THUMBNAILS][np.array([rows[product] for product in reference.products])]
    copies = {"thumbnail": thumbnails} | {name: domains[name] for name in COPIES}
    same = {
        copy: {name: of_copy.predicted[name] == p for name, p in reference.predicted.items()}
        for copy, of_copy in copies.items()
    }
    same["all"] = {name: np.all([of_copy[name] for of_copy in same.values()], axis=0) for name in reference.predicted}
    return {
        copy: {"images": len(reference), **{name: float(s.mean()) for name, s in of_copy.items()}}
        for copy, of_copy in same.items()
    }


def perturbation_metrics(domain: DomainPredictions) -> dict[str, Any]:
    """Accuracy of each attribute."""
    found: dict[str, Any] = {"images": len(domain)}
    for name, predicted in domain.predicted.items():
        known = domain.accepted[name].any(axis=1)
        if known.any():
            found[name] = float(domain.accepted[name][np.flatnonzero(known), predicted[known]].mean())
    return found
