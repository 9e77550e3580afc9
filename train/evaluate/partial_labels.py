"""Metrics of images for which several labels are accepted, such as photographs that people took.

All are shares. The 95 % intervals are by a bootstrap over groups of images (contributors, styles, products), because
images of one group are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.phone_photographs import COARSE
from train.evaluate.metrics import expected_calibration_error

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


def partial_label_metrics(
    probabilities: Mapping[str, np.ndarray], accepted: Mapping[str, np.ndarray], groups: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Attribute name → metrics over the images with a known label; attributes without any are left out.

    probabilities (N, classes), accepted (N, classes) bool, groups (N,).
    """
    metrics = {}
    for name, p in probabilities.items():
        known = accepted[name].any(axis=1)
        if known.any():
            first = p.argmax(axis=1)[known]
            correct, confidence = accepted[name][known, first], p.max(axis=1)[known]
            of_group = np.asarray(groups)[known]
            metrics[name] = {
                "images": int(known.sum()),
                "accuracy": float(correct.mean()),
                "accuracy_interval": group_interval(correct, of_group),
                "confidence": float(confidence.mean()),
                "confidence_interval": group_interval(confidence, of_group),
                "calibration_error": expected_calibration_error(confidence, correct),
                "calibration_error_interval": calibration_interval(confidence, correct, of_group),
            }
    return metrics


def share(hit: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The share of True in hit (N,) bool, with its interval over groups (N,)."""
    return {"images": len(hit), "share": float(hit.mean()), "interval": group_interval(hit, groups)}


def group_interval(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """95 % percentile bootstrap interval of the mean of values (N,), over groups (N,)."""
    return np.percentile([values[rows].mean() for rows in _resamples(groups)], PERCENTILES).tolist()


def calibration_interval(confidence: np.ndarray, correct: np.ndarray, groups: Sequence[str]) -> list[float]:
    """95 % basic bootstrap interval: percentile intervals are biased, because noise increases the error."""
    found = expected_calibration_error(confidence, correct)
    drawn = [expected_calibration_error(confidence[rows], correct[rows]) for rows in _resamples(groups)]
    return np.clip(2 * found - np.percentile(drawn, PERCENTILES[::-1]), 0, 1).tolist()


def _resamples(groups: Sequence[str]) -> Iterator[np.ndarray]:
    """Image indices of as many groups as there are, drawn with replacement."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[i] for i in random.integers(len(names), size=len(names))])


def coarse_label_metrics(types: np.ndarray, contributed: Sequence[str], contributors: Sequence[str]) -> dict[str, Any]:
    """How often the predicted product types (N,) of text are accepted for the contributors' coarse labels (N,).

    Over all labels in `COARSE` and for each of them; empty if there are none.
    """
    contributed, contributors = np.asarray(contributed), np.asarray(contributors)
    known = np.isin(contributed, list(COARSE))
    hit = np.array([t in COARSE.get(label, ()) for t, label in zip(types, contributed, strict=True)], dtype=bool)
    if not known.any():
        return {}
    found = share(hit[known], contributors[known])
    found["by_label"] = {
        label: share(hit[of_label], contributors[of_label])
        for label in COARSE
        if (of_label := contributed == label).any()
    }
    return found
