"""The model card: README.md of a checkpoint directory, its figures taken from metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashion_model.attributes import ATTRIBUTES
from fashion_model.model import ModelConfig
from train.tables import markdown

CARD = "README.md"


def model_card(config: ModelConfig, metrics: Mapping[str, Any]) -> str:
    """Markdown: what the checkpoint is, how right it is and what its answers cannot mean."""
    height, width = config.image_size
    classes = ", ".join(f"{config.num_classes[a.name]} of {a.title.lower()}" for a in ATTRIBUTES)
    return f"""# Fashion Product Classifier

A photograph of a fashion product goes in; its color, product type, season of use and target gender come out, each with
a calibrated confidence. Backbone {config.backbone}, {config.heads} heads, input {height}×{width} pixels; classes:
{classes}. Trained on the public *Fashion Product Images* data set (Kaggle `paramaggarwal/fashion-product-images-small`,
MIT licence), on pictures none of which is among those measured below.

## How right it is

{markdown(metrics)}

## What the season means

{season_limits(metrics)}

## Limits

The photographs trained on come from one online catalogue, nearly all before plain white. Its labels are not always
true: pictures that stand under two ids now and then have two colors. Target gender is the catalogue's department (Boys,
Girls, Men, Unisex, Women), and says nothing about who may wear a product.
"""


def season_limits(metrics: Mapping[str, Any]) -> str:
    """What the answer for the season can and cannot mean, with the figures."""
    season = metrics["attributes"]["season"]
    text = (
        "The season in these labels is nearly a property of the catalogue: what came in during 2012 is Summer. It says "
        "when a product was listed more than when it is worn, and nobody can read that off a photograph for certain. "
        f"On the catalogue's thumbnails it is right in {_percent(season['accuracy'])} of cases"
    )
    sharp = metrics.get("sharp")
    if not sharp:
        return f"{text}."
    found = sharp["attributes"]["season"]
    return (
        f"{text}; on sharp photographs, which is what people upload, in {_percent(found['accuracy'])}, and averaged "
        f"over the four seasons in {_percent(found['balanced_accuracy'])}. There its confidence is off by "
        f"{_percent(found['calibration_error'])} on average. The sharp photograph and the thumbnail of one product "
        f"get the same season in {_percent(sharp['agreement']['thumbnail']['season'])} of cases. Take it as a hint."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
