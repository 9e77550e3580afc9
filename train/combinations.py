"""Combinations of answers that no training row has, such as sarees for men: how often does the network give them?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

EXPECTED = 5  # rows at least, were the attributes independent, for never having been seen to mean something
SHOWN = 5  # of the most frequent ones


def unseen_pairs(first: np.ndarray, second: np.ndarray, classes: tuple[int, int]) -> np.ndarray:
    """Class indices (N,) and (N,) of two attributes in the training rows → bool (classes, classes).

    True where a pair never occurs although, by how frequent its labels are, it should at least `EXPECTED` times.
    """
    seen = np.zeros(classes)
    np.add.at(seen, (first, second), 1)
    expected = seen.sum(axis=1, keepdims=True) * seen.sum(axis=0, keepdims=True) / len(first)
    return (seen == 0) & (expected >= EXPECTED)


def unseen_answers(
    unseen: np.ndarray,
    answers: tuple[np.ndarray, np.ndarray],
    targets: tuple[np.ndarray, np.ndarray],
    labels: tuple[tuple[str, ...], tuple[str, ...]],
) -> dict[str, Any]:
    """How many `unseen` pairs there are, their share in the answers and in the labels, and the most frequent answers.

    answers, targets: class indices (N,) of the first and the second attribute; a target of -1 is no known label.
    """
    given = unseen[answers]
    known = np.minimum(*targets) >= 0
    frequent = Counter(zip(answers[0][given].tolist(), answers[1][given].tolist(), strict=True)).most_common(SHOWN)
    return {
        "pairs": int(unseen.sum()),
        "answers": float(given.mean()),
        "labels": float((unseen[targets] & known).mean()),
        "frequent": [{"labels": [labels[0][i], labels[1][j]], "count": count} for (i, j), count in frequent],
    }
