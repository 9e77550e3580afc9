"""Whether the network sees what kind of photograph it is shown, and whether that moves its answer for the season.

The sharp photographs come from a part of the catalogue where far more is labelled Fall. A network that can tell them
from thumbnails could read the season off that. Compared are the two photographs of each product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5
PENALTY = 1000.0  # of the squared weights; there are about as many features as photographs


def told_apart(thumbnails: np.ndarray, sharp: np.ndarray) -> float | None:
    """How often a linear classifier tells sharp photographs from thumbnails of products that it was not fitted to.

    Pooled features (N, C) of the same products; ½ is chance. None for fewer products than `FOLDS`.
    """
    count = len(sharp)
    if count < FOLDS:
        return None
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(PENALTY))
    features, kind = np.concatenate((thumbnails, sharp)), np.repeat((0, 1), count)
    products = np.tile(np.arange(count), 2)
    return float(cross_val_score(classifier, features, kind, groups=products, cv=GroupKFold(FOLDS)).mean())


def shares(indices: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """What is counted → class indices (N,) → what is counted → label → its share; -1 counts for no label."""
    return {
        name: {label: float((found == i).mean()) for i, label in enumerate(labels)} for name, found in indices.items()
    }
