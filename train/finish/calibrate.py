"""Calibrate a checkpoint on the validation split: temperatures, and the threshold of the fashion score.

The temperature of an attribute (Guo et al., ICML 2017) minimizes the binary cross-entropy of the confidence in the
predicted class, averaged over the domains. It is raised where the mean confidence would exceed the accuracy in some
domain of at least MIN_IMAGES by more than MAX_OVERCONFIDENCE, as a confidence that is too modest misleads less.
Temperatures rise as the fashion score falls, which it does for pictures of unknown sources: of SLOPES that with the
lowest loss of all attributes is taken. The threshold is that with which the domain where the fewest images are
recognized, or refused where they show no fashion product, has the most of them. Worn accessories and those of the
studio count as domains of their own. All are stored in config.json, with reliability diagrams in figures/. Metrics
measured before and the report belong to another calibration and are deleted: run `train evaluate` and `train report`
afterwards. If it fails, config.json is as before.

--image-size sets the input size from now on: convolutional networks are often more accurate at a somewhat larger size
than they were trained at (Touvron et al., NeurIPS 2019).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from data_prep.splits import VALIDATION
from fashion_model.checkpoint import CONFIG, CheckpointError, delete_measurements, read_checkpoint
from fashion_model.models.config import TEMPERATURES, ModelConfig
from fashion_model.system import read_json, write_bytes, write_json
from train.data.domains import OTHER
from train.evaluate.metrics import WEIGHTS, Sample, reliability_diagram, reliability_file, samples_of
from train.evaluate.predictions import DomainPredictions, SplitPredictions, saved_predictions
from train.evaluate.split_metrics import split_metrics, with_accessories, write_split_metrics

MAX_OVERCONFIDENCE = 0.01  # mean confidence minus accuracy
MIN_IMAGES = 100  # of a domain whose overconfidence counts; of fewer it is mostly noise
AMBIGUOUS = {(OTHER, "gender")}  # one label each, where several are right: they do not count
SLOPES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12)  # candidates for `temperature_slope`
EPSILON = 1e-6  # confidences are clipped to [EPSILON, 1 - EPSILON]


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    image_size: tuple[int, int] | None = None  # height and width of the input from now on
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def run(config: Config) -> None:
    file = config.checkpoint / CONFIG
    before = file.read_bytes()
    try:
        if config.image_size:
            set_image_size(config.checkpoint, config.image_size)
        predictions = saved_predictions(config.checkpoint, config.data, VALIDATION, config.device, config.workers)
        calibrated = calibrate(predictions)
    except BaseException:  # also an interruption
        write_bytes(file, before)
        raise
    write_json(file, calibrated.config.to_dict())
    if file.read_bytes() != before:
        delete_measurements(config.checkpoint)
    write_split_metrics(config.checkpoint, VALIDATION, split_metrics(calibrated, config.data))
    (config.checkpoint / "figures").mkdir(exist_ok=True)
    for attribute in calibrated.config.attributes:
        if figure := reliability_diagram(attribute, calibrated):
            figure.savefig(config.checkpoint / reliability_file(attribute.name), dpi=100)
        print(f"{attribute.name}: temperature {calibrated.config.temperatures[attribute.name]:.3f}")
    print(f"slope of their logarithms: -{calibrated.config.temperature_slope:.2f} for each unit of the fashion score")
    print(f"fashion score: at least {calibrated.config.fashion_threshold:.3f}")


def calibrate(predictions: SplitPredictions) -> SplitPredictions:
    """The same predictions with fitted temperatures and threshold. What there are no images for stays as it is."""
    domains, before = with_accessories(predictions.domains), predictions.config
    samples = {
        name: [sample for sample in samples_of(domains, name) if (sample.domain, name) not in AMBIGUOUS]
        for name in before.temperatures
    }
    fitted = {name: each for name, each in samples.items() if any(sample.domain in WEIGHTS for sample in each)}
    slope, temperatures = fit_temperatures(fitted) if fitted else (before.temperature_slope, {})
    threshold = fit_threshold(domains.values())
    config = dataclasses.replace(before, temperatures={**before.temperatures, **temperatures}, temperature_slope=slope)
    if threshold is not None:
        config = dataclasses.replace(config, fashion_threshold=threshold)
    return dataclasses.replace(predictions, config=config)


def fit_temperatures(samples: Mapping[str, Sequence[Sample]]) -> tuple[float, dict[str, float]]:
    """The slope and the temperature of each attribute. `samples`: attribute name → samples."""
    fitted = {slope: {name: fit_temperature(each, slope) for name, each in samples.items()} for slope in SLOPES}
    return min(fitted.items(), key=lambda item: sum(loss(samples[name], t, item[0]) for name, t in item[1].items()))


def fit_temperature(samples: Sequence[Sample], slope: float = 0) -> float:
    """Minimizes the loss, then rises until no sample is too confident."""
    fitted = minimize_scalar(
        lambda logarithm: loss(samples, np.exp(logarithm), slope),
        bounds=np.log(TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-4},
    )
    temperature = float(np.exp(fitted.x))
    while overconfidence(samples, temperature, slope) > MAX_OVERCONFIDENCE and temperature * 1.01 < TEMPERATURES[1]:
        temperature *= 1.01
    return temperature


def overconfidence(samples: Sequence[Sample], temperature: float, slope: float = 0) -> float:
    """Mean confidence minus accuracy, where it is largest; of samples with at least MIN_IMAGES."""
    large = (sample for sample in samples if len(sample.accepted) >= MIN_IMAGES)
    return max((float(s.confidence(temperature, slope).mean() - s.correct.mean()) for s in large), default=0.0)


def fit_threshold(domains: Iterable[DomainPredictions]) -> float | None:
    """Of the fashion score. None unless there are images with and without fashion products."""
    domains = list(domains)
    if len({domain.is_fashion for domain in domains}) < 2:
        return None
    candidates = np.unique(np.concatenate([domain.fashion_scores for domain in domains]))
    recognized = np.stack([(domain.fashion_scores[:, None] >= candidates).mean(axis=0) for domain in domains])
    right = np.where([[domain.is_fashion] for domain in domains], recognized, 1 - recognized)  # (domains, candidates)
    return float(candidates[np.lexsort((right.mean(axis=0), right.min(axis=0)))[-1]])


def loss(samples: Iterable[Sample], temperature: float, slope: float) -> float:
    """Binary cross-entropy of the confidence, the sum over the samples of `WEIGHTS`."""
    total = 0.0
    for sample in (s for s in samples if s.domain in WEIGHTS):
        confidence = np.clip(sample.confidence(temperature, slope), EPSILON, 1 - EPSILON)
        total -= WEIGHTS[sample.domain] * float(np.log(np.where(sample.correct, confidence, 1 - confidence)).mean())
    return total


def set_image_size(checkpoint: Path, image_size: tuple[int, int]) -> None:
    """CheckpointError if the network cannot take inputs of this size."""
    config = read_json(checkpoint / CONFIG) | {"image_size": list(image_size)}
    try:
        write_json(checkpoint / CONFIG, ModelConfig.from_dict(config).to_dict())
        read_checkpoint(checkpoint, str(checkpoint))
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} cannot take inputs of {image_size}: {error}") from error
