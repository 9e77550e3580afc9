"""Metrics of the images of one domain, from the probabilities and the labels accepted for each image, and diagrams.

All are shares, except the negative log-likelihood, which is in nats. The 95 % intervals are by a bootstrap over groups
of images (contributors, photographs, styles, products), because images of one group are not independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import f1_score, recall_score

from fashion_model.attributes import Attribute
from fashion_model.models.multitask import calibrated
from train.data.domains import DOMAINS, TITLES
from train.evaluate.predictions import DomainPredictions, SplitPredictions

BINS = 15
RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)  # of the resamples; the bounds of a 95 % interval
WEIGHTS = {kind.name: kind.calibration_weight for kind in DOMAINS if kind.calibration_weight}  # in calibration
COLORS = {"before": "#c44e52", "after": "#4c72b0"}


def attribute_metrics(probabilities: np.ndarray, accepted: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """Metrics over the images with a known label; empty if there are none.

    probabilities (N, classes), accepted (N, classes) bool, groups (N,). Where each image has one label, macro F1 and
    the like are added.
    """
    known = accepted.any(axis=1)
    if not known.any():
        return {}
    p, accepted, groups = probabilities[known], accepted[known], np.asarray(groups)[known]
    predicted, confidence = p.argmax(axis=1), p.max(axis=1)
    correct = accepted[np.arange(len(p)), predicted]
    metrics = {
        "images": len(p),
        "accuracy": float(correct.mean()),
        "accuracy_interval": mean_interval(correct, groups),
        "confidence": float(confidence.mean()),
        "confidence_interval": mean_interval(confidence, groups),
        "calibration_error": expected_calibration_error(confidence, correct),
        "calibration_error_interval": calibration_interval(confidence, correct, groups),
    }
    return metrics | (single_label_metrics(p, accepted.argmax(axis=1)) if (accepted.sum(axis=1) == 1).all() else {})


def single_label_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """probabilities (N, classes), labels (N,). Balanced accuracy is the mean over the labels that occur."""
    predicted = probabilities.argmax(axis=1)
    of_label = probabilities[np.arange(len(labels)), labels]
    top5 = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return {
        "top5_accuracy": float((top5 == labels[:, None]).any(axis=1).mean()),
        "balanced_accuracy": float(recall_score(labels, predicted, labels=np.unique(labels), average="macro")),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
        "nll": float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean()),
        "majority_share": float(np.bincount(labels).max() / len(labels)),
    }


def share(hit: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The share of True in hit (N,) bool, with its interval over groups (N,)."""
    return {"images": len(hit), "share": float(hit.mean()), "interval": mean_interval(hit, groups)}


def mean_interval(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """95 % percentile bootstrap interval of the mean of values (N,), over groups (N,)."""
    sums = resampled_sums(np.stack([values, np.ones(len(values))], axis=1), groups)
    return np.percentile(sums[:, 0] / sums[:, 1], PERCENTILES).tolist()


def calibration_interval(confidence: np.ndarray, correct: np.ndarray, groups: Sequence[str]) -> list[float]:
    """95 % basic bootstrap interval (Davison and Hinkley 1997, 5.2): percentile intervals are biased, because noise
    increases the error."""
    bin_of = np.eye(BINS)[_bins(confidence)]  # (N, BINS)
    gap = (correct - confidence)[:, None] * bin_of
    sums = resampled_sums(np.concatenate([gap, np.ones((len(gap), 1))], axis=1), groups)
    errors = np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]
    measured = expected_calibration_error(confidence, correct)
    return np.clip(2 * measured - np.percentile(errors, PERCENTILES[::-1]), 0, 1).tolist()


def resampled_sums(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Sums (RESAMPLES, K) of values (N, K), each over as many groups as there are, drawn with replacement."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    of_group = np.zeros((len(names), values.shape[1]))
    np.add.at(of_group, group, values)
    random = np.random.default_rng(0)
    return random.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES) @ of_group


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Mean |accuracy - confidence| over bins of equal width, weighted by their size (Guo et al., ICML 2017).

    confidences (N,) in [0, 1], correct (N,) bool.
    """
    size, accuracy, confidence = reliability(confidences, correct)
    return float((size * np.abs(accuracy - confidence)).sum() / size.sum())


def reliability(confidences: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, accuracy and mean confidence of bins of equal width of the confidence; (BINS,) each."""
    bin_of = _bins(confidences)
    size = np.bincount(bin_of, minlength=BINS)
    at_least_one = np.maximum(size, 1)
    accuracy = np.bincount(bin_of, correct, minlength=BINS) / at_least_one
    return size, accuracy, np.bincount(bin_of, confidences, minlength=BINS) / at_least_one


def _bins(confidences: np.ndarray) -> np.ndarray:
    return np.minimum((confidences * BINS).astype(int), BINS - 1)


@dataclass(frozen=True)
class Sample:
    """Predictions for the images of one domain that have a known label of one attribute."""

    domain: str
    logits: torch.Tensor  # (N, classes) float64
    scores: torch.Tensor  # (N,) fashion scores
    accepted: np.ndarray  # (N, classes) bool

    def confidence(self, temperature: float, slope: float = 0) -> np.ndarray:
        """The probability of the predicted class (N,)."""
        return calibrated(self.logits, self.scores, temperature, slope).max(dim=1).values.numpy()

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
            scores = torch.from_numpy(predictions.fashion_scores[known])
            samples.append(Sample(name, logits, scores, predictions.accepted[attribute][known]))
    return samples


def reliability_diagram(attribute: Attribute, predictions: SplitPredictions) -> Figure | None:
    """Accuracy over confidence, before and after temperature scaling, with one panel for each domain of `WEIGHTS`.

    None where no image has a known label.
    """
    samples = [s for s in samples_of(predictions.domains, attribute.name) if s.domain in WEIGHTS]
    if not samples:
        return None
    config = predictions.config
    temperature, slope = config.temperatures[attribute.name], config.temperature_slope
    figure = Figure(figsize=(4.5 * len(samples), 4.6), layout="constrained")
    figure.suptitle(f"{attribute.title}: temperature {temperature:.3f} · exp(-{slope:.2f} · fashion score)")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for label, values in (("before", (1.0,)), ("after", (temperature, slope))):
            confidences = sample.confidence(*values)
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
