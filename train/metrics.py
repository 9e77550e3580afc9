"""Figures of one attribute from its probabilities. All are fractions, but cross-entropy is in nats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

BINS = 15
RESAMPLES = 1000
PERCENTILES = (97.5, 2.5)  # of the resamples, for a 95 % interval
WITHIN_CLASSES = ("balanced_accuracy", "macro_f1")  # means over the classes, none of which a resample may lose
LARGEST = {"cross_entropy": np.inf}  # the other figures are shares


def mean_and_reach(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, …) → their mean, and half of its 95 % interval by Student's t; NaN for a single one."""
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
class Answers:
    """What the figures need to know of each of N photographs."""

    target: np.ndarray  # (N,) class index; -1 for a label that the network does not know, which no answer matches
    predicted: np.ndarray  # (N,) class index
    confidence: np.ndarray  # (N,) probability of the predicted class
    in_top5: np.ndarray  # (N,) bool
    loss: np.ndarray  # (N,) -log of the target's probability; an unknown label has the smallest float32 for one

    @classmethod
    def of(cls, probabilities: np.ndarray, targets: np.ndarray) -> Answers:
        """probabilities (N, classes), targets (N,)."""
        top5 = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        of_target = np.where(targets >= 0, probabilities[np.arange(len(targets)), targets], 0)
        loss = -np.log(np.maximum(of_target, np.finfo(np.float32).tiny))
        in_top5 = (top5 == targets[:, None]).any(axis=1)
        return cls(targets, top5[:, 0], probabilities.max(axis=1), in_top5, loss)

    def __getitem__(self, rows: np.ndarray) -> Answers:
        return Answers(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.target)


def figures(answers: Answers) -> dict[str, float]:
    """Balanced accuracy is the mean over the classes among the labels, macro F1 over those among labels or answers."""
    correct = answers.predicted == answers.target
    classes = 1 + max(answers.predicted.max(), answers.target.max())
    labelled = np.bincount(answers.target + 1, minlength=classes + 1)  # position 0 counts the unknown labels
    answered = np.bincount(answers.predicted + 1, minlength=classes + 1)
    right = np.bincount(answers.target + 1, correct, minlength=classes + 1)
    f1 = 2 * right / np.maximum(labelled + answered, 1)
    return {
        "accuracy": float(correct.mean()),
        "top5_accuracy": float(answers.in_top5.mean()),
        "balanced_accuracy": float((right[labelled > 0] / labelled[labelled > 0]).mean()),
        "macro_f1": float(f1[labelled + answered > 0].mean()),
        "cross_entropy": float(answers.loss.mean()),
        "calibration_error": expected_calibration_error(answers.confidence, correct),
    }


def calibration_error_by_chance(answers: Answers, resamples: int = 200) -> float:
    """The calibration error that confidences as true as can be would show on so few photographs, on average."""
    random = np.random.default_rng(0)
    confidence = answers.confidence
    drawn = [
        expected_calibration_error(confidence, random.random(len(confidence)) < confidence) for _ in range(resamples)
    ]
    return float(np.mean(drawn))


def intervals(answers: Answers, resamples: int = RESAMPLES) -> dict[str, list[float]]:
    """95 % basic bootstrap interval of each figure (Davison and Hinkley 1997, 5.2), over photographs drawn again.

    Twice the figure less the percentiles of the draws: plain percentiles would count twice that the calibration error
    is never below 0 and grows with noise. For the figures `WITHIN_CLASSES` the draws are within each class.
    """
    random = np.random.default_rng(0)
    by_class = np.argsort(answers.target, kind="stable")
    _, first, size = np.unique(answers.target[by_class], return_index=True, return_counts=True)
    first, size = np.repeat(first, size), np.repeat(size, size)
    drawn = []
    for _ in range(resamples):
        place = random.random(len(answers))
        anywhere = figures(answers[(place * len(answers)).astype(int)])
        within = figures(answers[by_class[first + (place * size).astype(int)]])
        drawn.append(anywhere | {name: within[name] for name in WITHIN_CLASSES})
    found = figures(answers)
    return {
        name: np.clip(
            2 * found[name] - np.percentile([d[name] for d in drawn], PERCENTILES), 0, LARGEST.get(name, 1)
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
    """How many answers lie in each bin of equal width, their accuracy and their mean confidence; (bins,) each."""
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    size = np.bincount(bin_of, minlength=bins)
    at_least_one = np.maximum(size, 1)
    accuracy = np.bincount(bin_of, correct, minlength=bins) / at_least_one
    return size, accuracy, np.bincount(bin_of, confidences, minlength=bins) / at_least_one
