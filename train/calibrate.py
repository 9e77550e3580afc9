"""Fit the temperature of each attribute on the validation split, so that confidences can be believed.

    python -m train calibrate --checkpoint runs/NAME --data data/ [--sharp images-480.zip …]

Stores the temperatures in config.json, where `predict` finds them (Guo et al., ICML 2017: the answers stay, only the
confidences move), writes the validation figures after them to metrics.json, and draws figures/reliability_*.png.
With --sharp the fit weighs both kinds of picture equally. A minute on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from data_prep.splits import VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.checkpoint import CONFIG, METRICS, CheckpointError, write_json
from train.dataset import DataError
from train.evaluate import add_common_arguments, prepare
from train.evaluation import Evaluation
from train.metrics import Answers, expected_calibration_error, reliability
from train.versions import SharpPhotographs

RANGE = (0.1, 10.0)  # of temperatures looked at


@dataclass(frozen=True)
class Sample:
    """One kind of picture and one attribute."""

    kind: str
    logarithms: np.ndarray  # (N, classes) log-probabilities at temperature 1
    targets: np.ndarray  # (N,) class indices, -1 for unknown labels

    def probabilities(self, temperature: float) -> np.ndarray:
        """(N, classes)."""
        scaled = self.logarithms / temperature
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def loss(self, temperature: float) -> float:
        known = self.targets >= 0
        of_target = self.probabilities(temperature)[known, self.targets[known]]
        return float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean())


def fit_temperature(samples: list[Sample]) -> float:
    """The temperature with the least cross-entropy, averaged over the samples."""
    bounds = tuple(np.log(RANGE))
    found = minimize_scalar(
        lambda logarithm: sum(s.loss(np.exp(logarithm)) for s in samples), bounds=bounds, method="bounded"
    )
    return float(np.exp(found.x))


def samples_of(evaluation: Evaluation, kind: str, rows: pd.DataFrame, pooled: torch.Tensor) -> dict[str, Sample]:
    """Attribute → the sample of one kind of picture: `rows` and their pooled features (N, C)."""
    targets = evaluation.targets(rows).numpy()
    with torch.inference_mode():
        logits = evaluation.model.heads(pooled)
    return {
        name: Sample(kind, logits[name].log_softmax(dim=1).cpu().numpy(), targets[:, i]) for i, name in enumerate(NAMES)
    }


def reliability_diagram(title: str, samples: list[Sample], temperature: float) -> Figure:
    """Accuracy over confidence in each bin, before and after the temperature, one panel a kind of picture."""
    figure = Figure(figsize=(4.5 * len(samples), 4.6), layout="constrained")
    figure.suptitle(f"{title}: temperature {temperature:.3f}")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for label, value, color in (("before", 1.0, "#c44e52"), ("after", temperature, "#4c72b0")):
            answers = Answers.of(sample.probabilities(value), sample.targets)
            correct = answers.predicted == answers.target
            size, accuracy, confidence = reliability(answers.confidence, correct)
            error = expected_calibration_error(answers.confidence, correct)
            used = size > 0
            axes.plot(confidence[used], accuracy[used], "o-", color=color, label=f"{label}: {100 * error:.1f} %")
        axes.set(title=sample.kind, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        axes.legend(title="calibration error", loc="upper left")
    return figure


def calibrate(evaluation: Evaluation, directory: Path, sharp: SharpPhotographs | None) -> Mapping[str, float]:
    """Fit, store and draw. Returns the temperatures."""
    thumbnails = evaluation.features(evaluation.thumbnails())
    kinds = [samples_of(evaluation, "thumbnails", evaluation.rows, thumbnails)]
    if sharp is not None:
        rows = evaluation.rows_with(sharp)
        pooled = evaluation.sharp_features(sharp, rows)
        kinds.append(samples_of(evaluation, "sharp photographs", rows, pooled))
    samples = {name: [kind[name] for kind in kinds] for name in NAMES}
    temperatures = {name: fit_temperature(samples[name]) for name in NAMES}
    evaluation.model.config = dataclasses.replace(evaluation.model.config, temperatures=temperatures)
    write_json(directory / CONFIG, evaluation.model.config.to_dict())
    write_json(directory / METRICS, evaluation.thumbnail_metrics(thumbnails))
    (directory / "figures").mkdir(exist_ok=True)
    for attribute in ATTRIBUTES:
        figure = reliability_diagram(attribute.title, samples[attribute.name], temperatures[attribute.name])
        figure.savefig(directory / "figures" / f"reliability_{attribute.name}.png", dpi=100)
    return temperatures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train calibrate", description=__doc__.split("\n")[0])
    add_common_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, VALIDATION)
        temperatures = calibrate(evaluation, options.checkpoint, sharp)
    except (CheckpointError, DataError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    for name, temperature in temperatures.items():
        print(f"{name}: temperature {temperature:.3f}")
    return 0
