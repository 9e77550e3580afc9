"""What an epoch is measured on, and how: quickly, on the validation split's pictures of every kind there is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from data_prep.more_pictures import EVERYDAY
from data_prep.phone_photographs import FOLDER as PHONE
from data_prep.splits import VALIDATION
from fashion_model.attributes import LabelEncoders
from fashion_model.model import MultiTaskClassifier
from train.pictures import Pictures, catalogue_pictures, label_targets, labelled_pictures, phone_table, pictures_in


def validation_pictures(data: Path, rows: pd.DataFrame, encoders: LabelEncoders, limit: int | None) -> list[Pictures]:
    """`rows`: the cleaned table's of the validation split."""
    found = catalogue_pictures(data, rows, label_targets(rows, encoders))
    if (data / PHONE).is_dir():
        found.append(labelled_pictures(PHONE, phone_table(data, VALIDATION)[:limit], data / PHONE / "images", encoders))
    if (data / EVERYDAY).is_dir():
        found.append(pictures_in(EVERYDAY, data / EVERYDAY / VALIDATION, encoders, fashion=0.0, limit=limit))
    return [pictures for pictures in found if len(pictures)]


@torch.inference_mode()
def validation_figures(model: MultiTaskClassifier, pooled: torch.Tensor, pictures: Pictures) -> dict[str, float]:
    """Pooled features (N, C) of `pictures` → figures.

    `fashion`: the share recognised as what they are, a fashion product or none; for each attribute the share, of those
    whose answer is known, where the first answer is accepted; `cross_entropy_sum` over the attributes.
    """
    scores = model.fashion_scores(pooled).cpu() >= model.config.fashion_threshold
    figures = {"fashion": float((scores == bool(pictures.fashion)).float().mean()), "cross_entropy_sum": 0.0}
    for name, logits in model.heads(pooled).items():
        targets = pictures.targets[name]
        known = targets.sum(dim=1) > 0
        if known.any():
            log_probabilities, targets = logits.cpu().float().log_softmax(dim=1)[known], targets[known]
            accepted = targets.gather(1, log_probabilities.argmax(dim=1, keepdim=True)) > 0
            figures[name] = float(accepted.float().mean())
            figures["cross_entropy_sum"] -= float((targets * log_probabilities).sum(dim=1).mean())
    return figures
