"""Pairs of answers that training rows hardly ever have, such as sarees for men: how often are they given?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

EXPECTED = 5  # training rows at least, were the attributes independent, for having hardly any to mean something
HARDLY = 0.01  # of the rows expected; the few that there are may be labelled wrongly
SHOWN = 5  # of the most frequent ones

Indices = tuple[np.ndarray, np.ndarray]  # (N,) class indices of the first and of the second attribute


@dataclass(frozen=True)
class Combinations:
    """Of the labels of two attributes."""

    seen: np.ndarray  # (classes, classes) how many training rows have the pair
    labels: tuple[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(cls, rows: Indices, labels: tuple[tuple[str, ...], tuple[str, ...]]) -> Combinations:
        """rows: those of the training split; one with a -1, no known label, does not count."""
        known = np.minimum(*rows) >= 0
        return cls(_counts((rows[0][known], rows[1][known]), (len(labels[0]), len(labels[1]))), labels)

    @cached_property
    def expected(self) -> np.ndarray:
        """(classes, classes) how many training rows would have the pair, were the attributes independent."""
        return self.seen.sum(axis=1, keepdims=True) * self.seen.sum(axis=0, keepdims=True) / max(1, self.seen.sum())

    @cached_property
    def unlikely(self) -> np.ndarray:
        """(classes, classes) bool: where `EXPECTED` rows or more are expected, and less than `HARDLY` of them there."""
        return (self.expected >= EXPECTED) & (self.seen < HARDLY * self.expected)

    def figures(self, answers: Indices, targets: Indices) -> dict[str, Any]:
        """How many unlikely pairs there are, their share in answers and labels, and the most frequent answers.

        A target of -1 is no known label, and never in an unlikely pair.
        """
        known = np.minimum(*targets) >= 0
        frequent = [pair for pair in self.ranked({"all": answers}) if pair["answers"]["all"]][:SHOWN]
        return {
            "pairs": int(self.unlikely.sum()),
            "answers": float(self.unlikely[answers].mean()),
            "labels": float((self.unlikely[targets] & known).mean()),
            "frequent": [{"labels": pair["labels"], "count": pair["answers"]["all"]} for pair in frequent],
        }

    def ranked(self, answers: Mapping[str, Indices]) -> list[dict[str, Any]]:
        """The unlikely pairs: how often seen, expected and answered to each kind of photograph in `answers`.

        Those often answered come first, then those often expected.
        """
        given = {kind: _counts(of_kind, self.seen.shape) for kind, of_kind in answers.items()}
        pairs = [
            {
                "labels": [self.labels[0][i], self.labels[1][j]],
                "seen": int(self.seen[i, j]),
                "expected": float(self.expected[i, j]),
                "answers": {kind: int(counts[i, j]) for kind, counts in given.items()},
            }
            for i, j in np.argwhere(self.unlikely)
        ]
        return sorted(pairs, key=lambda pair: (-sum(pair["answers"].values()), -pair["expected"]))


def _counts(rows: Indices, classes: tuple[int, ...]) -> np.ndarray:
    counts = np.zeros(classes, dtype=int)
    np.add.at(counts, rows, 1)
    return counts
