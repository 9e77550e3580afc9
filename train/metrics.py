"""Figures of one attribute from its probabilities. All are fractions, but cross-entropy is in nats."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

BINS = 15


def attribute_metrics(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """probabilities (N, classes), targets (N,) class indices; -1 marks a label the network does not know.

    Such a row counts as wrong, with a probability of 0 for its label.
    """
    predicted = probabilities.argmax(axis=1)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    of_target = np.where(targets >= 0, probabilities[np.arange(len(targets)), targets], 0)
    return {
        "accuracy": float((predicted == targets).mean()),
        "top5_accuracy": float((ranked == targets[:, None]).any(axis=1).mean()),
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "cross_entropy": float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean()),
        "calibration_error": expected_calibration_error(probabilities.max(axis=1), predicted == targets),
    }


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Mean |accuracy - confidence| over bins of equal width, weighted by their size (Guo et al., ICML 2017).

    confidences (N,) in [0, 1], correct (N,) bool.
    """
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    size = np.bincount(bin_of, minlength=bins)
    gap = np.bincount(bin_of, correct, minlength=bins) - np.bincount(bin_of, confidences, minlength=bins)
    return float(np.abs(gap).sum() / size.sum())
