"""Whether the network sees what kind of photograph it is shown, and whether that moves its answer for the season.

The sharp photographs come from a part of the catalogue where far more is labelled Fall. A network that can tell them
from thumbnails could read the season off that. Compared are the two photographs of each product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS, FEWEST = 5, 50  # products
PENALTIES = (100.0, 1000.0, 10_000.0)  # of the squared weights; there are about as many features as photographs


def kind_accuracy(thumbnails: np.ndarray, sharp: np.ndarray) -> float | None:
    """How often a linear classifier says of a single photograph which kind it is, for products it was not fitted to.

    Pooled features (N, C) of the same products; ½ is chance. Another classifier may see more. None for fewer products
    than `FEWEST`, on which this would be noise.
    """
    count = len(sharp)
    if count < FEWEST:
        return None
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    features, kind = np.concatenate((thumbnails, sharp)), np.repeat((0, 1), count)
    products = np.tile(np.arange(count), 2)
    return float(cross_val_score(classifier, features, kind, groups=products, cv=GroupKFold(FOLDS)).mean())


def label_shares(answers: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Whose answers → class indices (N,), turned into whose answers → label → its share of them."""
    return {whose: {label: float((a == i).mean()) for i, label in enumerate(labels)} for whose, a in answers.items()}
