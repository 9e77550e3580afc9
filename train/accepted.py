"""Figures on pictures of which a fair judge accepts several names: phone photographs first of all.

All are shares. The intervals are of 95 %, by a bootstrap that draws the groups of pictures anew, contributors or
products, since pictures of one group succeed or fail together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from data_prep.phone_photographs import COARSE
from train.metrics import expected_calibration_error

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


def accepted_figures(
    probabilities: Mapping[str, np.ndarray], targets: Mapping[str, torch.Tensor], groups: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Attribute → figures over the pictures of which something is known; attributes that no picture has are left out.

    probabilities (N, classes), targets (N, classes) above 0 at the accepted names, groups (N,).
    """
    figures = {}
    for name, p in probabilities.items():
        accepted = targets[name].numpy() > 0
        known = accepted.any(axis=1)
        if known.any():
            first = p.argmax(axis=1)[known]
            correct, confidence = accepted[known, first], p.max(axis=1)[known]
            of_group = np.asarray(groups)[known]
            figures[name] = {
                "photographs": int(known.sum()),
                "accuracy": float(correct.mean()),
                "accuracy_interval": group_interval(correct, of_group),
                "confidence": float(confidence.mean()),
                "confidence_interval": group_interval(confidence, of_group),
                "calibration_error": expected_calibration_error(confidence, correct),
                "calibration_error_interval": calibration_interval(confidence, correct, of_group),
            }
    return figures


def share(hit: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """hit (N,) bool, groups (N,)."""
    return {"photographs": len(hit), "share": float(hit.mean()), "interval": group_interval(hit, groups)}


def group_interval(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Percentile bootstrap of the mean of values (N,), groups drawn anew with all their pictures."""
    return np.percentile([values[rows].mean() for rows in _resamples(groups)], PERCENTILES).tolist()


def calibration_interval(confidence: np.ndarray, correct: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Basic bootstrap, as noise alone makes the error larger: twice the figure less the percentiles of the draws."""
    found = expected_calibration_error(confidence, correct)
    drawn = [expected_calibration_error(confidence[rows], correct[rows]) for rows in _resamples(groups)]
    return np.clip(2 * found - np.percentile(drawn, PERCENTILES[::-1]), 0, 1).tolist()


def _resamples(groups: Sequence[str]) -> Iterator[np.ndarray]:
    """Row numbers of as many groups as there are, drawn anew."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[i] for i in random.integers(len(names), size=len(names))])


def coarse_figures(types: np.ndarray, contributed: Sequence[str], contributors: Sequence[str]) -> dict[str, Any]:
    """How often the answered product types (N,), as texts, are accepted for what the contributor called the thing.

    Over all contributed labels that say something, and for each; empty if none does.
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
