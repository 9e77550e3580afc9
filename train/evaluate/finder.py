"""What a checkpoint's finder finds in photographs of a split: boxes and groups, and the type of what is in them.

A box is right if its intersection over union with one of its group is at least a half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from data_prep.photographs import EVERYDAY
from fashion_model.attributes import PRODUCT_TYPE, LabelEncoders
from fashion_model.classifier import FashionClassifier
from fashion_model.models.config import ModelConfig
from fashion_model.models.finder import Finder
from fashion_model.predictions import Product
from fashion_model.preprocessing import Preprocessing
from train.data.domains import PHONE, WORN, Domain, Split, load_domains, read_image
from train.data.scenes import GROUPS, Photograph, box_of_product, street_photographs
from train.data.table import read_table, rows_of_split
from train.evaluate.metrics import share

MIN_OVERLAP = 0.5  # intersection over union
MIN_SCORE = 0.02  # of what average precision counts


@dataclass(frozen=True)
class Matches:
    """Of all N boxes that were found, best first, and the number of boxes there are in each group."""

    scores: np.ndarray  # (N,)
    groups: np.ndarray  # (N,)
    right: np.ndarray  # (N,) bool
    counts: np.ndarray  # (groups,)

    def average_precision(self) -> np.ndarray:
        """(groups,), the area below precision over recall; NaN for a group without boxes."""
        areas = np.full(len(self.counts), np.nan)
        for group in np.flatnonzero(self.counts):
            right = self.right[self.groups == group]
            precision = right.cumsum() / np.arange(1, len(right) + 1)
            best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
            areas[group] = best[right].sum() / self.counts[group]
        return areas

    def at_precision(self, precision: float) -> tuple[float, float]:
        """The lowest threshold with this precision, and its recall; (1, 0) if there is none."""
        right = self.right.cumsum()
        enough = np.flatnonzero(right / np.arange(1, len(right) + 1) >= precision)
        last = enough[-1] if len(enough) else None
        return (1.0, 0.0) if last is None else (float(self.scores[last]), float(right[last] / self.counts.sum()))


def finder_metrics(checkpoint: Path, data: Path, split: str) -> dict[str, Any]:
    """Metrics of the split's street, phone and everyday photographs, as far as there are any. Shares have intervals.

    All but average precision is of what `FashionClassifier.find` returns.
    """
    classifier = FashionClassifier.from_pretrained(checkpoint)
    domains = domains_of(classifier.config, classifier.encoders, data, split, (WORN, PHONE, EVERYDAY))
    metrics = street_metrics(classifier, domains[WORN]) if WORN in domains else {}
    if PHONE in domains:
        only = [is_only_product(classifier, path) for path in domains[PHONE].paths]
        clear = [i for i, each in enumerate(only) if each is not None]
        if clear:
            right, senders = np.array([only[i] for i in clear]), [domains[PHONE].groups[i] for i in clear]
            metrics["one_product"] = share(right, senders)
    if EVERYDAY in domains:
        nothing = np.array([not classifier.find(path) for path in domains[EVERYDAY].paths])
        metrics["nothing"] = share(nothing, domains[EVERYDAY].groups)
    return metrics


def street_metrics(classifier: FashionClassifier, worn: Domain) -> dict[str, Any]:
    assert classifier.finder
    photographs, accepted = street_photographs(worn), worn.targets[PRODUCT_TYPE] > 0
    precisions = matches_of(classifier.finder, classifier.config.preprocessing, photographs).average_precision()
    right, located, named = [], [], []  # of the products of each photograph: those found, and twice those there are
    for photograph in photographs:
        products = classifier.find(photograph.path)
        rows = rows_found(products, photograph)
        types = {row: int(products[i].prediction[PRODUCT_TYPE].probabilities.argmax()) for i, row in rows.items()}
        right.append([i in rows for i in range(len(products))])
        located.append([row in types for row in photograph.rows])
        named.append([row in types and bool(accepted[row, types[row]]) for row in photograph.rows])
    metrics = {
        "photographs": len(photographs),
        "average_precision": dict(zip(GROUPS, map(float, precisions), strict=True)),
        "mean_average_precision": float(np.nanmean(precisions)),
    }
    for name, hits in {"precision": right, "recall": located, "named": named}.items():
        numbers = np.repeat(range(len(hits)), list(map(len, hits)))
        metrics[name] = share(np.concatenate(hits).astype(bool), numbers.astype(str)) if len(numbers) else {}
    return metrics


def rows_found(products: Sequence[Product], photograph: Photograph) -> dict[int, int]:
    """Index of a product that was found → row of the product that it is, with the same group."""
    boxes, _, groups = arrays_of(products, photograph)
    partners = partners_of(boxes, groups, photograph)
    return {i: int(photograph.rows[partner]) for i, partner in enumerate(partners) if partner >= 0}


def arrays_of(products: Sequence[Product], photograph: Photograph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) as parts of the photograph's width and height, scores (N,), groups (N,), -1 for none of them."""
    size, names = np.tile(read_image(photograph.path).size, 2), list(GROUPS)
    boxes = np.array([product.box for product in products], dtype=float).reshape(-1, 4) / size
    groups = np.array([names.index(p.group) if p.group in names else -1 for p in products], dtype=int)
    return boxes, np.array([product.score for product in products]), groups


def is_only_product(classifier: FashionClassifier, path: Path) -> bool | None:
    """Whether exactly one product is found, where the foreground is; None if the foreground is not clear."""
    image = read_image(path)
    foreground = box_of_product(np.asarray(image))
    if foreground is None:
        return None
    boxes = torch.tensor([product.box for product in classifier.find(path)]).reshape(-1, 4) / torch.tensor(
        image.size * 2
    )
    return len(boxes) == 1 and bool(box_iou(boxes, torch.tensor(foreground)[None].float()) >= MIN_OVERLAP)


def domains_of(
    config: ModelConfig, encoders: LabelEncoders, data: Path, split: str, names: Sequence[str]
) -> dict[str, Domain]:
    """Those of `names` that the data folder has images of, with the checkpoint's labels."""
    of_split = Split(data, split, rows_of_split(read_table(data), split), config.attributes, encoders)
    return {domain.name: domain for domain in load_domains(of_split, names)}


def matches_of(finder: Finder, preprocessing: Preprocessing, photographs: Sequence[Photograph]) -> Matches:
    """What the finder finds in the photographs, with scores from MIN_SCORE on, and what of it is right."""
    threshold, finder.score_thresh = finder.score_thresh, MIN_SCORE
    found = []
    for photograph in photographs:
        image = read_image(photograph.path)
        boxes, scores, groups = finder.locate(image, preprocessing)
        found.append((boxes / np.tile(image.size, 2), scores, groups))
    finder.score_thresh = threshold
    return match(found, photographs, len(GROUPS))


def match(found: Sequence[tuple[np.ndarray, ...]], truth: Sequence[Photograph], groups: int) -> Matches:
    """Photograph by photograph, each found box, the best first, takes the box of its group that it overlaps most.

    found: boxes (N, 4), scores (N,) and groups (N,) of each photograph, the best first.
    """
    pairs = zip(found, truth, strict=True)
    right = [partners_of(boxes, of_boxes, photograph) >= 0 for (boxes, _, of_boxes), photograph in pairs]
    _, scores, of_boxes = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.argsort(-scores, kind="stable")
    counts = np.bincount(np.concatenate([each.groups for each in truth]).astype(int), minlength=groups)
    return Matches(scores[order], of_boxes[order], np.concatenate(right)[order], counts)


def partners_of(boxes: np.ndarray, groups: np.ndarray, truth: Photograph) -> np.ndarray:
    """(N,) the index of the photograph's box that each of the boxes (N, 4) with these groups takes, or -1."""
    overlaps = box_iou(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), torch.tensor(truth.boxes).double())
    allowed = overlaps.numpy() * (groups[:, None] == truth.groups[None])
    partners = np.full(len(boxes), -1)
    for row in range(len(partners)):
        if allowed.shape[1] and allowed[row].max() >= MIN_OVERLAP:
            partners[row] = allowed[row].argmax()
            allowed[:, partners[row]] = 0
    return partners
