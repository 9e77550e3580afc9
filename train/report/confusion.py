"""Figures of each class and what is confused with what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import ClusterNode, leaves_list, linkage, to_tree
from scipy.spatial.distance import squareform
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

BLOCK = 12  # classes at most that are drawn together, with their percentages
BLOCKS = 6  # at most
TIED = 0.001  # how often two branches are taken for each other, on average over their classes, to be in one block
PRIOR = 10  # photographs more in each row, so that a class with one photograph does not weigh like one with many


def class_report(label: pd.Series, answer: pd.Series, training: pd.Series) -> pd.DataFrame:
    """One row a class that is a label or an answer, frequent ones first. All three hold labels, (N,), (N,) and (M,).

    Columns: label, precision, recall, f1, support (rows with this label), answered (rows with this answer),
    training_rows. NaN where nothing was answered so (precision) or labelled so (recall).
    """
    classes = sorted({*label, *answer})
    precision, recall, f1, support = precision_recall_fscore_support(
        label, answer, labels=classes, zero_division=np.nan
    )
    report = pd.DataFrame({"label": classes, "precision": precision, "recall": recall, "f1": f1, "support": support})
    report["answered"] = report["label"].map(answer.value_counts()).fillna(0).astype(int)
    report["training_rows"] = report["label"].map(training.value_counts()).fillna(0).astype(int)
    return report.sort_values("support", ascending=False, kind="stable", ignore_index=True)


def confusions(label: pd.Series, answer: pd.Series) -> pd.DataFrame:
    """Columns label, answer, count, share (of the label's rows): every pair that was confused, most frequent first."""
    wrong = label != answer
    pairs = pd.DataFrame({"label": label[wrong], "answer": answer[wrong]})
    counted = pairs.groupby(["label", "answer"]).size().rename("count").reset_index()
    counted["share"] = counted["count"] / label.value_counts().loc[counted["label"]].to_numpy()
    return counted.sort_values("count", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of the classes that are among the labels, those that are confused side by side."""

    labels: tuple[str, ...]  # n
    counts: np.ndarray  # (n, n) int: row label, column answer
    support: np.ndarray  # (n,) rows with each label; more than a row of `counts` where other classes were answered
    blocks: tuple[slice, ...]  # those with the most confusion inside, worst first; of at most `BLOCK` classes each

    @property
    def rates(self) -> np.ndarray:
        """(n, n), each row divided by the label's rows."""
        return self.counts / self.support[:, None]

    @classmethod
    def of(cls, label: pd.Series, answer: pd.Series) -> Confusion:
        classes = sorted(set(label))
        everything = [*classes, *sorted(set(answer) - set(label))]
        counts = confusion_matrix(label, answer, labels=everything)[: len(classes)]
        support, counts = counts.sum(axis=1), counts[:, : len(classes)]
        order, blocks = _order(counts / (support[:, None] + PRIOR))
        counts = counts[np.ix_(order, order)]
        if len(classes) <= BLOCK:
            worst = [slice(0, len(classes))]
        else:
            errors = [counts[b, b].sum() - counts[b, b].trace() for b in blocks]
            worst = [blocks[i] for i in np.argsort(errors, kind="stable")[::-1][:BLOCKS] if errors[i]]
        return cls(tuple(classes[i] for i in order), counts, support[order], tuple(worst))


def _order(rates: np.ndarray) -> tuple[np.ndarray, list[slice]]:
    """Rates (n, n) → an order (n,) with confused classes side by side, and the blocks that it falls into.

    Average linkage on how often two classes are taken for each other, leaves in the best order of that tree
    (Bar-Joseph et al., Bioinformatics 2001).
    """
    if len(rates) <= 2:
        return np.arange(len(rates)), [slice(0, len(rates))]
    distances = 1 - (rates + rates.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree), _blocks(to_tree(tree), 0)


def _blocks(node: ClusterNode, start: int) -> list[slice]:
    """The largest branches with at most `BLOCK` leaves, as places among the leaves; the first leaf is at `start`."""
    if node.count == 1 or (node.count <= BLOCK and node.dist <= 1 - TIED):
        return [slice(start, start + node.count)]
    return _blocks(node.left, start) + _blocks(node.right, start + node.left.count)
