"""Fit each attribute's temperature, and what counts as a fashion product, on the validation split.

    python -m train calibrate --checkpoint runs/NAME --data data/ [--sharp data/sharp …] [--image-size 224 224]

The temperature (Guo et al., ICML 2017) is the one at which the confidence in the first answer predicts best whether it
is right, averaged over the kinds of picture there are: phone photographs, which count `PHONE_WEIGHT` times, sharp ones
(with --sharp) and thumbnails. The threshold of the fashion score refuses `REFUSED` of the everyday pictures; without
any it stays. Stores both in config.json, writes the validation figures after them to metrics.json, and draws
figures/reliability_*.png.

--image-size sets the size of the input from now on: convolutional networks are often more right on somewhat larger
photographs than they were trained on (Touvron et al., NeurIPS 2019).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from data_prep.more_pictures import EVERYDAY
from data_prep.phone_photographs import FOLDER as PHONE
from data_prep.splits import VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.backbones import backbone_named
from fashion_model.checkpoint import CONFIG, METRICS, CheckpointError, write_json
from fashion_model.model import MultiTaskClassifier
from train.card import reliability_file
from train.dataset import DataError
from train.evaluate import add_common_arguments, prepare
from train.evaluation import Evaluation
from train.metrics import expected_calibration_error, reliability
from train.pictures import label_targets
from train.versions import SharpPhotographs
from train.visitors import everyday_pictures, phone_pictures

RANGE = (0.05, 20.0)  # of temperatures looked at
REFUSED = 0.985  # share of the validation split's everyday pictures whose score lies below the threshold
PHONE_WEIGHT = 4.0  # of phone photographs in the mean over the kinds: twice as much as the others together
SURE = 1e-6  # no confidence is taken to be nearer to 0 or 1


@dataclass(frozen=True)
class Sample:
    """One kind of picture and one attribute."""

    kind: str
    logits: torch.Tensor  # (N, classes)
    accepted: np.ndarray  # (N, classes) bool
    weight: float = 1.0  # of the kind

    def confidence(self, temperature: float) -> np.ndarray:
        """(N,) of the first answer."""
        return torch.softmax(self.logits / temperature, dim=1).max(dim=1).values.numpy()

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: is the first answer accepted? The same at any temperature."""
        return self.accepted[np.arange(len(self.accepted)), self.logits.argmax(dim=1).numpy()]

    def loss(self, temperature: float) -> float:
        """Binary cross-entropy of the confidence."""
        confidence = np.clip(self.confidence(temperature), SURE, 1 - SURE)
        return float(-np.log(np.where(self.correct, confidence, 1 - confidence)).mean())


def fit_temperature(samples: Sequence[Sample]) -> float:
    """With the least loss, averaged over the samples by their weights."""
    found = minimize_scalar(
        lambda logarithm: sum(sample.weight * sample.loss(np.exp(logarithm)) for sample in samples),
        bounds=np.log(RANGE),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def samples_of(
    evaluation: Evaluation, kind: str, pooled: torch.Tensor, targets: Mapping[str, torch.Tensor], weight: float = 1.0
) -> dict[str, Sample]:
    """Attribute → the sample of one kind of picture: those of which it is known.

    Pooled features (N, C), targets (N, classes) above 0 at the accepted names.
    """
    with torch.inference_mode():
        logits = evaluation.model.heads(pooled)
    known = {name: t.sum(dim=1) > 0 for name, t in targets.items()}
    return {
        name: Sample(kind, logits[name].double().cpu()[known[name]], (t > 0)[known[name]].numpy(), weight)
        for name, t in targets.items()
        if known[name].any()
    }


def reliability_diagram(title: str, samples: Sequence[Sample], temperature: float) -> Figure:
    """Accuracy over confidence in each bin, before and after the fit, one panel a kind of picture."""
    figure = Figure(figsize=(4.5 * len(samples), 4.6), layout="constrained")
    figure.suptitle(f"{title}: temperature {temperature:.3f}")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for label, value, color in (("before", 1.0, "#c44e52"), ("after", temperature, "#4c72b0")):
            confidences = sample.confidence(value)
            size, accuracy, confidence = reliability(confidences, sample.correct)
            error = expected_calibration_error(confidences, sample.correct)
            used = size > 0
            axes.plot(confidence[used], accuracy[used], "o-", color=color, label=f"{label}: {100 * error:.1f} %")
        axes.set(title=sample.kind, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        axes.legend(title="calibration error", loc="upper left")
    return figure


def calibrate(evaluation: Evaluation, directory: Path, sharp: SharpPhotographs | None) -> Mapping[str, float]:
    """Fit, store and draw. Returns the temperature of each attribute."""
    encoders = evaluation.checkpoint.encoders
    thumbnails = evaluation.features(evaluation.thumbnails())
    kinds, config = [], evaluation.model.config
    if (evaluation.data / PHONE).is_dir():
        pictures = phone_pictures(evaluation)
        if len(pictures):
            pooled = evaluation.features(pictures)
            kinds.append(samples_of(evaluation, "phone photographs", pooled, pictures.targets, PHONE_WEIGHT))
    if sharp is not None:
        rows = evaluation.rows_with(sharp)
        pooled = evaluation.sharp_features(sharp, rows)
        kinds.append(samples_of(evaluation, "sharp photographs", pooled, label_targets(rows, encoders)))
    kinds.append(samples_of(evaluation, "thumbnails", thumbnails, label_targets(evaluation.rows, encoders)))
    if (evaluation.data / EVERYDAY).is_dir():
        scores = evaluation.fashion_scores(evaluation.features(everyday_pictures(evaluation)))
        config = dataclasses.replace(config, fashion_threshold=float(np.quantile(scores, REFUSED)))
    samples = {name: [kind[name] for kind in kinds if name in kind] for name in NAMES}
    temperatures = {name: fit_temperature(samples[name]) for name in NAMES}
    evaluation.model.config = dataclasses.replace(config, temperatures=temperatures)
    write_json(directory / CONFIG, evaluation.model.config.to_dict())
    write_json(directory / METRICS, evaluation.thumbnail_metrics(thumbnails))
    (directory / "figures").mkdir(exist_ok=True)
    for attribute in ATTRIBUTES:
        figure = reliability_diagram(attribute.title, samples[attribute.name], temperatures[attribute.name])
        figure.savefig(directory / reliability_file(attribute.name), dpi=100)
    return temperatures


def set_image_size(model: MultiTaskClassifier, image_size: tuple[int, int]) -> None:
    """(height, width). CheckpointError for a transformer, whose positions belong to one size, or an impossible size."""
    if backbone_named(model.config.backbone).patch > 1:
        raise CheckpointError(f"{model.config.backbone} takes input of the size it was trained on")
    try:
        model.config = dataclasses.replace(model.config, image_size=image_size)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train calibrate", description=__doc__.split("\n")[0])
    add_common_arguments(parser)
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the input from now on")
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, VALIDATION)
        if options.image_size:
            set_image_size(evaluation.model, tuple(options.image_size))
        temperatures = calibrate(evaluation, options.checkpoint, sharp)
    except (CheckpointError, DataError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    for name, temperature in temperatures.items():
        print(f"{name}: temperature {temperature:.3f}")
    print(f"fashion score: at least {evaluation.model.config.fashion_threshold:.3f}")
    return 0
