"""report/classes.json: figures, confusions and example photographs of each class, for the app's search."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from data_prep.duplicates import THUMBNAIL
from train.data.domains import PHONE
from train.evaluate.predictions import SplitPredictions
from train.report.findings import Findings

CONFUSIONS = 3  # of a class, in each direction
PICTURES = 3  # of a class, right ones and wrong ones
QUALITY = 60  # of the WebP, about 0.7 kB


def classes_document(
    predictions: SplitPredictions, findings: Sequence[Findings], image_at: Callable[[int], Image.Image]
) -> dict[str, Any]:
    """The JSON document. `image_at`: a row of the cleaned table → its photograph."""
    phone = phone_counts(predictions)
    attributes = {}
    for found in findings:
        name, rows = found.attribute.name, found.answers.rows
        classes = {
            row.label: {
                "images": int(row.support),
                "precision": _rounded(row.precision),
                "recall": _rounded(row.recall),
                "predicted_as": _pairs(found.confusions, "label", "answer", row.label),
                "confused_from": _pairs(found.confusions, "answer", "label", row.label),
                "phone": phone.get(name, {}).get(row.label),
                "right": [_webp(image_at(i)) for i in _shown(rows[(rows["label"] == row.label) & found.answers.right])],
                "wrong": [
                    (_webp(image_at(i)), rows.loc[i, "answer"])
                    for i in _shown(rows[(rows["label"] == row.label) & ~found.answers.right])
                ],
            }
            for row in found.classes.itertuples()
        }
        right = found.answers.right
        attributes[name] = {
            "title": found.attribute.title,
            "images": len(right),
            "accuracy": _rounded(right.mean()),
            "classes": classes,
        }
    return {"split": predictions.split, "attributes": attributes}


def phone_counts(predictions: SplitPredictions) -> dict[str, dict[str, dict[str, int]]]:
    """Attribute → predicted label → how many phone photographs got it, and for how many it is accepted."""
    domain = predictions.domains.get(PHONE)
    if domain is None:
        return {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, answer in domain.predicted.items():
        if name not in domain.accepted:
            continue
        accepted = domain.accepted[name]
        known = accepted.any(axis=1)
        right = accepted[np.arange(len(answer)), answer]
        labels = predictions.encoders.labels[name]
        counts[name] = {
            labels[i]: {"images": int((known & (answer == i)).sum()), "accepted": int((right & (answer == i)).sum())}
            for i in np.unique(answer[known])
        }
    return counts


def _pairs(confusions: pd.DataFrame, column: str, other: str, label: str) -> list[tuple[str, int]]:
    rows = confusions[confusions[column] == label].sort_values("count", ascending=False, kind="stable")
    return [(text, int(count)) for text, count in zip(rows[other][:CONFUSIONS], rows["count"], strict=False)]


def _shown(rows: pd.DataFrame) -> list[int]:
    """A few rows, from the most to the least confident one, so that neither hides."""
    order = rows.sort_values("confidence", ascending=False, kind="stable").index
    places = np.linspace(0, len(order) - 1, min(PICTURES, len(order))).round().astype(int)
    return [int(i) for i in order[places]]


def _webp(photograph: Image.Image) -> str:
    small = photograph.copy()
    small.thumbnail(THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=QUALITY, method=6)
    return base64.b64encode(file.getvalue()).decode()


def _rounded(share: float) -> float | None:
    return None if np.isnan(share) else round(float(share), 4)
