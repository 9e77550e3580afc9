"""Calibrate a checkpoint on the validation split: temperatures, and the threshold of the fashion score.

The temperature of an attribute (Guo et al., ICML 2017) minimizes the binary cross-entropy of the confidence in the
predicted class, averaged over the domains. The threshold rejects REJECTED of the everyday photographs. Both are stored
in config.json, with reliability diagrams in figures/. Metrics measured before belong to another calibration and are
dropped from metrics.json: run `train evaluate` afterwards.

--image-size sets the input size from now on: convolutional networks are often more accurate at a somewhat larger size
than they were trained at (Touvron et al., NeurIPS 2019).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from data_prep.photographs import EVERYDAY, HIGH_RESOLUTION
from data_prep.splits import VALIDATION
from fashion_model.checkpoint import CONFIG, CheckpointError, read_checkpoint, read_json, write_json
from fashion_model.models.config import TEMPERATURES, ModelConfig
from train.data.domains import PHONE, THUMBNAILS
from train.evaluate.predictions import SplitPredictions, saved_predictions
from train.evaluate.reliability import Sample, reliability_diagram, reliability_file, samples_of
from train.evaluate.split_metrics import split_metrics, write_split_metrics

# Title and weight of the domains that temperatures are fitted on: phone photographs count twice as much as the others.
DOMAINS = {
    PHONE: ("phone photographs", 4.0),
    HIGH_RESOLUTION: ("high-resolution photographs", 1.0),
    THUMBNAILS: ("thumbnails", 1.0),
}
WEIGHTS = dict(DOMAINS.values())  # by title
REJECTED = 0.985  # share of the everyday photographs of the validation split
EPSILON = 1e-6  # confidences are clipped to [EPSILON, 1 - EPSILON]


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    image_size: tuple[int, int] | None = None  # height and width of the input from now on
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def run(config: Config) -> None:
    if config.image_size:
        set_image_size(config.checkpoint, config.image_size)
    predictions = saved_predictions(config.checkpoint, config.data, VALIDATION, config.device, config.workers)
    calibrated = calibrate(predictions)
    write_json(config.checkpoint / CONFIG, calibrated.config.to_dict())
    write_split_metrics(config.checkpoint, VALIDATION, split_metrics(calibrated, config.data))
    draw_diagrams(calibrated)
    for name, temperature in calibrated.config.temperatures.items():
        print(f"{name}: temperature {temperature:.3f}")
    print(f"fashion score: at least {calibrated.config.fashion_threshold:.3f}")


def calibrate(predictions: SplitPredictions) -> SplitPredictions:
    """The same predictions with fitted temperatures and threshold; without everyday photographs it keeps its threshold.

    Temperatures without any known label stay.
    """
    temperatures = dict(predictions.config.temperatures)
    for name in temperatures:
        samples = calibration_samples(predictions, name)
        if samples:
            temperatures[name] = fit_temperature(samples)
    config = dataclasses.replace(predictions.config, temperatures=temperatures)
    if EVERYDAY in predictions.domains:
        scores = predictions.domains[EVERYDAY].fashion_scores
        config = dataclasses.replace(config, fashion_threshold=float(np.quantile(scores, REJECTED)))
    return dataclasses.replace(predictions, config=config)


def calibration_samples(predictions: SplitPredictions, attribute: str) -> list[Sample]:
    """One a domain of `DOMAINS` that has known labels."""
    titled = {title: predictions.domains[d] for d, (title, _) in DOMAINS.items() if d in predictions.domains}
    return samples_of(titled, attribute)


def fit_temperature(samples: Sequence[Sample]) -> float:
    """Minimizes the loss, averaged over the samples with the weights of their domains."""
    found = minimize_scalar(
        lambda logarithm: sum(WEIGHTS[sample.domain] * loss(sample, np.exp(logarithm)) for sample in samples),
        bounds=np.log(TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def loss(sample: Sample, temperature: float) -> float:
    """Binary cross-entropy of the confidence."""
    confidence = np.clip(sample.confidence(temperature), EPSILON, 1 - EPSILON)
    return float(-np.log(np.where(sample.correct, confidence, 1 - confidence)).mean())


def draw_diagrams(predictions: SplitPredictions) -> None:
    """One reliability diagram an attribute, in the checkpoint directory."""
    (predictions.checkpoint / "figures").mkdir(exist_ok=True)
    for attribute in predictions.attributes:
        samples = calibration_samples(predictions, attribute.name)
        if samples:
            temperature = predictions.config.temperatures[attribute.name]
            figure = reliability_diagram(attribute.title, samples, temperature)
            figure.savefig(predictions.checkpoint / reliability_file(attribute.name), dpi=100)


def set_image_size(checkpoint: Path, image_size: tuple[int, int]) -> None:
    """CheckpointError if the network cannot take inputs of this size."""
    before = read_json(checkpoint / CONFIG)
    try:
        write_json(checkpoint / CONFIG, ModelConfig.from_dict(before | {"image_size": list(image_size)}).to_dict())
        read_checkpoint(checkpoint, str(checkpoint))
    except (CheckpointError, ValueError) as error:
        write_json(checkpoint / CONFIG, before)
        raise CheckpointError(f"{checkpoint} cannot take inputs of {image_size}: {error}") from error
