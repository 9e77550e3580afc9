"""What a checkpoint's finder finds in photographs of a split: boxes and groups, and the type of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
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
from train.evaluate.detection import MIN_OVERLAP, Boxes, Matches, match, partners_of
from train.evaluate.metrics import share

MIN_SCORE = 0.02  # of what average precision counts


def finder_metrics(checkpoint: Path, data: Path, split: str) -> dict[str, Any]:
    """Metrics of the split's street, phone and everyday photographs, as far as there are any. Shares have intervals.

    All but average precision is of what `FashionClassifier.find` returns.
    """
    classifier = FashionClassifier.from_pretrained(checkpoint)
    domains = domains_of(classifier.config, classifier.encoders, data, split, (WORN, PHONE, EVERYDAY))
    metrics = street_metrics(classifier, domains[WORN]) if WORN in domains else {}
    if PHONE in domains:
        only = [is_only_product(classifier, path) for path in domains[PHONE].paths]
        clear = np.array([each is not None for each in only])
        metrics["one_product"] = share(np.array(list(map(bool, only)))[clear], np.array(domains[PHONE].groups)[clear])
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
    shares = {"precision": right, "recall": located, "named": named}
    return {
        "photographs": len(photographs),
        "average_precision": dict(zip(GROUPS, map(float, precisions), strict=True)),
        "mean_average_precision": float(np.nanmean(precisions)),
    } | {name: share_by_photograph(hits) for name, hits in shares.items()}


def share_by_photograph(hits: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """The share of True, and its interval over photographs."""
    photographs = [str(number) for number, each in enumerate(hits) for _ in each]
    return share(np.array([hit for each in hits for hit in each]), photographs) if photographs else {}


def rows_found(products: Sequence[Product], photograph: Photograph) -> dict[int, int]:
    """Index of a product that was found → row of the product that it is, with the same group."""
    size, names = np.tile(read_image(photograph.path).size, 2), list(GROUPS)
    groups = np.array([names.index(p.group) if p.group in names else -1 for p in products], dtype=int)
    found = Boxes(np.array([p.box for p in products], dtype=float).reshape(-1, 4) / size, groups)
    partners = partners_of(found, Boxes(photograph.boxes, photograph.groups))
    return {i: int(photograph.rows[partner]) for i, partner in enumerate(partners) if partner >= 0}


def is_only_product(classifier: FashionClassifier, path: Path) -> bool | None:
    """Whether exactly one product is found, where the foreground is; None if the foreground is not clear."""
    image = read_image(path)
    foreground = box_of_product(np.asarray(image))
    if foreground is None:
        return None
    boxes = torch.tensor([product.box for product in classifier.find(path)]).reshape(-1, 4) / torch.tensor(
        [*image.size, *image.size]
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
        found.append(Boxes(boxes / np.tile(image.size, 2), groups, scores))
    finder.score_thresh = threshold
    return match(found, [Boxes(photograph.boxes, photograph.groups) for photograph in photographs], len(GROUPS))
