"""Fit temperature and exponent of each attribute on the validation split, so that confidences can be believed.

    python -m train calibrate --checkpoint runs/NAME --data data/ [--sharp images-480.zip …]

Stores them in config.json, where `predict` finds them (`fashion_model.model.calibrated`: the answers stay, only the
confidences move), writes the validation figures after them to metrics.json, and draws figures/reliability_*.png.
With --sharp the fit weighs both kinds of picture equally.
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
from scipy.optimize import minimize

from data_prep.splits import VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.checkpoint import CONFIG, METRICS, CheckpointError, write_json
from fashion_model.model import calibrated
from train.card import reliability_file
from train.dataset import DataError
from train.evaluate import add_common_arguments, prepare
from train.evaluation import Evaluation
from train.metrics import Answers, expected_calibration_error, reliability
from train.versions import SharpPhotographs

UNCHANGED = (1.0, 1.0)  # temperature and exponent
RANGES = ((0.1, 10.0), (0.2, 5.0))  # of temperatures and exponents looked at
STARTS = (UNCHANGED, (1.6, 1.0), (1.0, 1.3))  # the first simplex


Fitted = Mapping[str, tuple[float, float]]  # attribute → temperature and exponent


@dataclass(frozen=True)
class Sample:
    """One kind of picture and one attribute."""

    kind: str
    logits: torch.Tensor  # (N, classes)
    targets: np.ndarray  # (N,) class indices, -1 for unknown labels

    def probabilities(self, temperature: float, exponent: float) -> np.ndarray:
        """(N, classes)."""
        return calibrated(self.logits, temperature, exponent).numpy()

    def loss(self, temperature: float, exponent: float) -> float:
        known = self.targets >= 0
        of_target = self.probabilities(temperature, exponent)[known, self.targets[known]]
        return float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean())


def fit_calibration(samples: list[Sample]) -> tuple[float, float]:
    """The temperature and exponent with the least cross-entropy, averaged over the samples."""
    found = minimize(
        lambda logarithms: sum(s.loss(*np.exp(logarithms)) for s in samples),
        np.log(UNCHANGED),
        method="Nelder-Mead",
        bounds=np.log(RANGES),
        options={"initial_simplex": np.log(STARTS), "xatol": 1e-4, "fatol": 1e-8},
    )
    temperature, exponent = np.exp(found.x)
    return float(temperature), float(exponent)


def samples_of(evaluation: Evaluation, kind: str, rows: pd.DataFrame, pooled: torch.Tensor) -> dict[str, Sample]:
    """Attribute → the sample of one kind of picture: `rows` and their pooled features (N, C)."""
    targets = evaluation.targets(rows).numpy()
    with torch.inference_mode():
        logits = evaluation.model.heads(pooled)
    return {name: Sample(kind, logits[name].double().cpu(), targets[:, i]) for i, name in enumerate(NAMES)}


def reliability_diagram(title: str, samples: list[Sample], fitted: tuple[float, float]) -> Figure:
    """Accuracy over confidence in each bin, before and after the fit, one panel a kind of picture."""
    figure = Figure(figsize=(4.5 * len(samples), 4.6), layout="constrained")
    figure.suptitle(f"{title}: temperature {fitted[0]:.3f}, exponent {fitted[1]:.3f}")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for label, value, color in (("before", UNCHANGED, "#c44e52"), ("after", fitted, "#4c72b0")):
            answers = Answers.of(sample.probabilities(*value), sample.targets)
            correct = answers.predicted == answers.target
            size, accuracy, confidence = reliability(answers.confidence, correct)
            error = expected_calibration_error(answers.confidence, correct)
            used = size > 0
            axes.plot(confidence[used], accuracy[used], "o-", color=color, label=f"{label}: {100 * error:.1f} %")
        axes.set(title=sample.kind, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        axes.legend(title="calibration error", loc="upper left")
    return figure


def calibrate(evaluation: Evaluation, directory: Path, sharp: SharpPhotographs | None) -> Fitted:
    """Fit, store and draw. Returns temperature and exponent of each attribute."""
    thumbnails = evaluation.features(evaluation.thumbnails())
    kinds = [samples_of(evaluation, "thumbnails", evaluation.rows, thumbnails)]
    if sharp is not None:
        rows = evaluation.rows_with(sharp)
        pooled = evaluation.sharp_features(sharp, rows)
        kinds.append(samples_of(evaluation, "sharp photographs", rows, pooled))
    samples = {name: [kind[name] for kind in kinds] for name in NAMES}
    fitted = {name: fit_calibration(samples[name]) for name in NAMES}
    evaluation.model.config = dataclasses.replace(
        evaluation.model.config,
        temperatures={name: temperature for name, (temperature, _) in fitted.items()},
        exponents={name: exponent for name, (_, exponent) in fitted.items()},
    )
    write_json(directory / CONFIG, evaluation.model.config.to_dict())
    write_json(directory / METRICS, evaluation.thumbnail_metrics(thumbnails))
    (directory / "figures").mkdir(exist_ok=True)
    for attribute in ATTRIBUTES:
        figure = reliability_diagram(attribute.title, samples[attribute.name], fitted[attribute.name])
        figure.savefig(directory / reliability_file(attribute.name), dpi=100)
    return fitted


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train calibrate", description=__doc__.split("\n")[0])
    add_common_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        evaluation, sharp = prepare(options, VALIDATION)
        fitted = calibrate(evaluation, options.checkpoint, sharp)
    except (CheckpointError, DataError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    for name, (temperature, exponent) in fitted.items():
        print(f"{name}: temperature {temperature:.3f}, exponent {exponent:.3f}")
    return 0
