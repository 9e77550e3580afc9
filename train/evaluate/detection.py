"""How well boxes fit: average precision, and recall at a precision, at an intersection over union of one half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import box_iou

MIN_OVERLAP = 0.5  # intersection over union


@dataclass(frozen=True)
class Boxes:
    """Of one photograph. Those that were found have scores (N,), best first."""

    boxes: np.ndarray  # (N, 4) left, top, right, bottom
    groups: np.ndarray  # (N,)
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class Matches:
    """Of all N boxes that were found, best first, and the number of boxes there are in each group."""

    scores: np.ndarray  # (N,)
    groups: np.ndarray  # (N,)
    right: np.ndarray  # (N,) bool
    counts: np.ndarray  # (groups,)

    def average_precision(self) -> np.ndarray:
        """(groups,), the area below precision over recall; NaN for a group without boxes."""
        return np.array([self._area(group) for group in range(len(self.counts))])

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall (N,) of all groups together, from the highest threshold to the lowest."""
        right = self.right.cumsum()
        return right / np.arange(1, len(right) + 1), right / max(self.counts.sum(), 1)

    def at_precision(self, precision: float) -> tuple[float, float]:
        """The lowest threshold with this precision, and its recall; (1, 0) if there is none."""
        precisions, recalls = self.curve()
        enough = np.flatnonzero(precisions >= precision)
        return (float(self.scores[enough[-1]]), float(recalls[enough[-1]])) if len(enough) else (1.0, 0.0)

    def _area(self, group: int) -> float:
        if not self.counts[group]:
            return float("nan")
        right = self.right[self.groups == group]
        precision = right.cumsum() / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
        return float(best[right].sum() / self.counts[group])


def match(found: Sequence[Boxes], truth: Sequence[Boxes], groups: int) -> Matches:
    """Photograph by photograph, each found box, the best first, takes the box of its group that it overlaps most."""
    right = [partners_of(*each) >= 0 for each in zip(found, truth, strict=True)]
    scores = np.concatenate([each.scores for each in found if each.scores is not None])
    order = np.argsort(-scores, kind="stable")
    counts = np.bincount(np.concatenate([each.groups for each in truth]).astype(int), minlength=groups)
    of_boxes = np.concatenate([each.groups for each in found])
    return Matches(scores[order], of_boxes[order], np.concatenate(right)[order], counts)


def partners_of(found: Boxes, truth: Boxes) -> np.ndarray:
    """(N,) the index of the box that each found box takes, or -1."""
    overlaps = box_iou(*(torch.tensor(each.boxes, dtype=torch.float64).reshape(-1, 4) for each in (found, truth)))
    allowed = overlaps.numpy() * (found.groups[:, None] == truth.groups[None])
    partners = np.full(len(found.groups), -1)
    for row in range(len(partners)):
        if allowed.shape[1] and allowed[row].max() >= MIN_OVERLAP:
            partners[row] = allowed[row].argmax()
            allowed[:, partners[row]] = 0
    return partners
