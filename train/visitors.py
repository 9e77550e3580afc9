"""What is measured on pictures like those that visitors send: each kind if the data folder has it.

- phone: photographs that people took at home, of contributors kept out of training;
- on_model: studio photographs of bags and watches, and of clothes on models, of styles kept out of training;
- composites: what of the catalogue's split is neither clothes nor shoes, cut out and put before textures and corners of
  photographs that training never saw, or plain colors. They tell less than real photographs: the cut and the light are
  by the same hand as in training;
- everyday: pictures that show no fashion product, to be refused; of the same sources as those trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_prep.more_pictures import BACKGROUNDS, EVERYDAY, NEVER_TRAINED_ON, ON_MODEL, SHARP, neighbourhood
from data_prep.phone_photographs import FOLDER as PHONE
from train.accepted import accepted_figures, coarse_figures, share
from train.augment import Grounds, composite, cut_out
from train.evaluation import Evaluation, probabilities_of
from train.pictures import (
    Pictures,
    label_targets,
    labelled_pictures,
    on_model_table,
    phone_table,
    pictures_in,
    read_picture,
)

COMPOSITES = "composites"
COMPOSITE_SIDE = 384  # pixels
PHOTOGRAPHED = ("Apparel", "Footwear")  # the catalogue's masterCategory of what has phone photographs


def visitor_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Kind → what metrics.json holds of it."""
    data, measures = evaluation.data, {}
    if (data / PHONE).is_dir():
        measures[PHONE] = phone_metrics(evaluation)
    if (data / ON_MODEL).is_dir():
        measures[ON_MODEL] = on_model_metrics(evaluation)
    if (data / BACKGROUNDS).is_dir():
        measures[COMPOSITES] = composite_metrics(evaluation)
    if (data / EVERYDAY).is_dir():
        measures[EVERYDAY] = everyday_metrics(evaluation)
    return {kind: found for kind, found in measures.items() if found}


def phone_pictures(evaluation: Evaluation) -> Pictures:
    """Of the split."""
    table = phone_table(evaluation.data, evaluation.split)
    return labelled_pictures(PHONE, table, evaluation.data / PHONE / "images", evaluation.checkpoint.encoders)


def phone_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Empty if the split has none."""
    table = phone_table(evaluation.data, evaluation.split)
    if table.empty:
        return {}
    pictures = phone_pictures(evaluation)
    found, types = _figures(evaluation, evaluation.features(pictures), pictures, table["sender"])
    coarse = coarse_figures(types, table["contributed_label"], table["sender"])
    return {"contributors": int(table["sender"].nunique()), **found, "coarse_label": coarse}


def on_model_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Of the bags and watches apart from the clothes, as far as the split has them."""
    table = on_model_table(evaluation.data, evaluation.split)
    apart = table["type"].isin(NEVER_TRAINED_ON)
    found = {}
    for kind, rows in (("bags and watches", table[apart]), ("clothes on models", table[~apart])):
        if len(rows):
            folder = evaluation.data / ON_MODEL / "images"
            pictures = labelled_pictures(ON_MODEL, rows, folder, evaluation.checkpoint.encoders)
            found[kind] = _figures(evaluation, evaluation.features(pictures), pictures, rows["style"])[0]
    return found


def accessories(evaluation: Evaluation) -> pd.DataFrame:
    """The rows of the split that show what has no phone photographs."""
    return evaluation.rows[~evaluation.rows["masterCategory"].isin(PHOTOGRAPHED)]


def composite_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Empty if no accessory of the split can be cut out."""
    rows = accessories(evaluation)
    composites = Composites(evaluation, rows)
    rows = rows[composites.usable]
    if rows.empty:
        return {}
    pictures = Pictures(COMPOSITES, [], label_targets(rows, evaluation.checkpoint.encoders))
    pooled = evaluation.features(composites)
    return _figures(evaluation, pooled, pictures, rows["group"].astype(str))[0]


def everyday_pictures(evaluation: Evaluation) -> Pictures:
    """Of the split."""
    folder = evaluation.data / EVERYDAY / evaluation.split
    return pictures_in(EVERYDAY, folder, evaluation.checkpoint.encoders, fashion=0.0)


def everyday_metrics(evaluation: Evaluation) -> dict[str, Any]:
    pictures = everyday_pictures(evaluation)
    refused = ~recognised(evaluation, evaluation.features(pictures))
    groups = np.array([neighbourhood(path.name) for path in pictures.paths])
    sources = np.array([name.split("-")[0] for name in groups])
    by_source = {
        str(source): share(refused[sources == source], groups[sources == source]) for source in np.unique(sources)
    }
    return {"refused": share(refused, groups), "by_source": by_source}


def _figures(
    evaluation: Evaluation, pooled: torch.Tensor, pictures: Pictures, groups: Sequence[str]
) -> tuple[dict[str, Any], np.ndarray]:
    """What is said of all kinds of labelled pictures, and the answered product types (N,) as texts."""
    probabilities = probabilities_of(evaluation.model, pooled)
    labels = np.array(evaluation.checkpoint.encoders.labels["product_type"])
    found = {
        "photographs": len(pooled),
        "attributes": accepted_figures(probabilities, pictures.targets, groups),
        "recognised": share(recognised(evaluation, pooled), groups),
    }
    return found, labels[probabilities["product_type"].argmax(axis=1)]


def recognised(evaluation: Evaluation, pooled: torch.Tensor) -> np.ndarray:
    """(N,) bool: which of the pictures with these features pass for fashion products."""
    return evaluation.fashion_scores(pooled) >= evaluation.model.config.fashion_threshold


class Composites:
    """The products of `rows` before other grounds, each always before the same one. `usable` (rows,) bool says which
    could be cut out; the sequence has only those."""

    def __init__(self, evaluation: Evaluation, rows: pd.DataFrame):
        data, split = evaluation.data, evaluation.split
        textures = [np.asarray(read_picture(p)) for p in sorted((data / BACKGROUNDS / split).glob("*.jpg"))]
        photographs: list[np.ndarray] = []
        if (data / PHONE).is_dir():
            names = phone_table(data, split)["image"]
            photographs = [np.asarray(read_picture(data / PHONE / "images" / name)) for name in names]
        self.grounds = Grounds(textures, photographs, [])
        products = [(product, self._picture(evaluation, product)) for product in rows["id"]]
        cut = [cut_out(picture, np.random.default_rng(product)) for product, picture in products]
        self.usable = np.array([found is not None for found in cut], dtype=bool)
        self.products = [(product, *found) for (product, _), found in zip(products, cut, strict=True) if found]

    @staticmethod
    def _picture(evaluation: Evaluation, product: int) -> np.ndarray:
        """The sharp photograph if there is one."""
        sharp = evaluation.data / SHARP / "images" / f"{product}.jpg"
        return np.asarray(read_picture(sharp if sharp.is_file() else evaluation.data / "images" / f"{product}.jpg"))

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, index: int) -> Image.Image:
        product, picture, alpha = self.products[index]
        view = composite(picture, alpha, self.grounds, COMPOSITE_SIDE, np.random.default_rng(product))
        return Image.fromarray(view)
