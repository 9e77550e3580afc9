"""Metrics of one attribute, from the probabilities and one label an image.

All are shares, except the negative log-likelihood, which is in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

BINS = 15
RESAMPLES = 1000
PERCENTILES = (97.5, 2.5)  # of the resamples; the bounds of a 95 % interval
WITHIN_CLASSES = ("balanced_accuracy", "macro_f1")  # means over classes: no resample may lose a class
MAXIMUM = {"nll": np.inf}  # the other metrics are shares


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, …) → their mean and half the width of its 95 % interval (Student's t); NaN for N = 1."""
    count = len(values)
    mean = values.mean(axis=0)
    if count < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, stats.t.ppf(0.975, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count)


def share_interval(count: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    found = stats.binomtest(count, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class LabeledPredictions:
    """What the metrics need of each of N images."""

    target: np.ndarray  # (N,) class index
    predicted: np.ndarray  # (N,) class index
    confidence: np.ndarray  # (N,) probability of the predicted class
    in_top5: np.ndarray  # (N,) bool
    loss: np.ndarray  # (N,) -log of the label's probability, which is at least the smallest float32

    @classmethod
    def of(cls, probabilities: np.ndarray, targets: np.ndarray) -> LabeledPredictions:
        """probabilities (N, classes), targets (N,)."""
        top5 = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        of_target = probabilities[np.arange(len(targets)), targets]
        loss = -np.log(np.maximum(of_target, np.finfo(np.float32).tiny))
        in_top5 = (top5 == targets[:, None]).any(axis=1)
        return cls(targets, top5[:, 0], probabilities.max(axis=1), in_top5, loss)

    def __getitem__(self, rows: np.ndarray) -> LabeledPredictions:
        return LabeledPredictions(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.target)


def classification_metrics(predictions: LabeledPredictions) -> dict[str, float]:
    """Balanced accuracy is the mean over labeled classes, macro F1 over labeled or predicted ones."""
    correct = predictions.predicted == predictions.target
    classes = 1 + max(predictions.predicted.max(), predictions.target.max())
    labeled = np.bincount(predictions.target, minlength=classes)
    predicted = np.bincount(predictions.predicted, minlength=classes)
    right = np.bincount(predictions.target, correct, minlength=classes)
    f1 = 2 * right / np.maximum(labeled + predicted, 1)
    return {
        "accuracy": float(correct.mean()),
        "top5_accuracy": float(predictions.in_top5.mean()),
        "balanced_accuracy": float((right[labeled > 0] / labeled[labeled > 0]).mean()),
        "macro_f1": float(f1[labeled + predicted > 0].mean()),
        "nll": float(predictions.loss.mean()),
        "majority_share": float(labeled.max() / len(predictions)),
        "calibration_error": expected_calibration_error(predictions.confidence, correct),
    }


def calibration_noise_floor(predictions: LabeledPredictions, resamples: int = 200) -> float:
    """Mean calibration error of perfectly calibrated confidences on as many images: its noise floor."""
    random = np.random.default_rng(0)
    confidence = predictions.confidence
    drawn = [
        expected_calibration_error(confidence, random.random(len(confidence)) < confidence) for _ in range(resamples)
    ]
    return float(np.mean(drawn))


def intervals(predictions: LabeledPredictions, resamples: int = RESAMPLES) -> dict[str, list[float]]:
    """95 % interval of each metric by the basic bootstrap over images (Davison and Hinkley 1997, 5.2).

    Percentile intervals would be biased for the calibration error, which grows with noise. For the metrics
    `WITHIN_CLASSES` images are drawn within each class.
    """
    random = np.random.default_rng(0)
    by_class = np.argsort(predictions.target, kind="stable")
    _, first, size = np.unique(predictions.target[by_class], return_index=True, return_counts=True)
    first, size = np.repeat(first, size), np.repeat(size, size)
    drawn = []
    for _ in range(resamples):
        place = random.random(len(predictions))
        anywhere = classification_metrics(predictions[(place * len(predictions)).astype(int)])
        within = classification_metrics(predictions[by_class[first + (place * size).astype(int)]])
        drawn.append(anywhere | {name: within[name] for name in WITHIN_CLASSES})
    found = classification_metrics(predictions)
    return {
        name: np.clip(
            2 * found[name] - np.percentile([d[name] for d in drawn], PERCENTILES), 0, MAXIMUM.get(name, 1)
        ).tolist()
        for name in found
    }


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Mean |accuracy - confidence| over bins of equal width, weighted by their size (Guo et al., ICML 2017).

    confidences (N,) in [0, 1], correct (N,) bool.
    """
    size, accuracy, confidence = reliability(confidences, correct, bins)
    return float((size * np.abs(accuracy - confidence)).sum() / size.sum())


def reliability(
    confidences: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, accuracy and mean confidence of bins of equal width of the confidence; (bins,) each."""
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    size = np.bincount(bin_of, minlength=bins)
    at_least_one = np.maximum(size, 1)
    accuracy = np.bincount(bin_of, correct, minlength=bins) / at_least_one
    return size, accuracy, np.bincount(bin_of, confidences, minlength=bins) / at_least_one
