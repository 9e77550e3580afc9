"""Reliability diagrams: accuracy over confidence, before and after temperature scaling."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from train.data.domains import TITLES
from train.evaluate.metrics import expected_calibration_error, reliability
from train.evaluate.predictions import DomainPredictions

COLORS = {"before": "#c44e52", "after": "#4c72b0"}


@dataclass(frozen=True)
class Sample:
    """Predictions for the images of one domain that have a known label of one attribute."""

    domain: str
    logits: torch.Tensor  # (N, classes) float64
    accepted: np.ndarray  # (N, classes) bool

    def confidence(self, temperature: float) -> np.ndarray:
        """The probability of the predicted class (N,)."""
        return torch.softmax(self.logits / temperature, dim=1).max(dim=1).values.numpy()

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether the predicted class is accepted, at any temperature."""
        return self.accepted[np.arange(len(self.accepted)), self.logits.argmax(dim=1).numpy()]


def samples_of(domains: Mapping[str, DomainPredictions], attribute: str) -> list[Sample]:
    """A sample for each domain with known labels of the attribute. `domains`: name → predictions."""
    samples = []
    for name, predictions in domains.items():
        known = predictions.accepted[attribute].any(axis=1)
        if known.any():
            logits = predictions.logits[attribute][torch.from_numpy(known)].double()
            samples.append(Sample(name, logits, predictions.accepted[attribute][known]))
    return samples


def reliability_diagram(title: str, samples: list[Sample], temperature: float) -> Figure:
    """A diagram with one panel for each sample."""
    figure = Figure(figsize=(4.5 * len(samples), 4.6), layout="constrained")
    figure.suptitle(f"{title}: temperature {temperature:.3f}")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for label, value in (("before", 1.0), ("after", temperature)):
            confidences = sample.confidence(value)
            size, accuracy, confidence = reliability(confidences, sample.correct)
            error = expected_calibration_error(confidences, sample.correct)
            used = size > 0
            text = f"{label}: {100 * error:.1f} %"
            axes.plot(confidence[used], accuracy[used], "o-", color=COLORS[label], label=text)
        axes.set(title=TITLES[sample.domain], xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        axes.legend(title="calibration error", loc="upper left")
    return figure


def reliability_file(attribute: str) -> str:
    """Path of the diagram in a checkpoint directory."""
    return f"figures/reliability_{attribute}.png"
