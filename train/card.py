"""The model card: README.md of a checkpoint directory and of its repository on the Hub, figures from metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from fashion_model.attributes import ATTRIBUTES, attribute_named
from fashion_model.model import ModelConfig
from train.tables import markdown

CARD = "README.md"
TITLE = "Fashion Product Classifier"
DATASET = "ashraq/fashion-product-images-small"
PHONE_DATASET = "alexeygrigorev/clothing-dataset"
TASK = "image-classification"
SOURCES = (
    "*Fashion Product Images* (Kaggle `paramaggarwal/fashion-product-images-small`, on the Hub "
    f"`{DATASET}`, MIT), the Clothing dataset (`{PHONE_DATASET}`, CC0; the names accepted of its "
    "photographs were chosen by a multimodal model, not by people), `magento/magento2-sample-data` (AFL-3.0), "
    "GroceryStoreDataset and TrashNet (MIT), Caltech-101 and the DreamBooth data set (CC BY 4.0), ambientCG's textures "
    "(CC0); the backbone began with ImageNet weights of Google's EfficientNet-Lite (Apache-2.0)"
)


def model_card(
    config: ModelConfig, metrics: Mapping[str, Any], repository: str | None = None, space: str | None = None
) -> str:
    """Metadata for the Hub, then Markdown: what the checkpoint is, how right it is and what its answers cannot mean.

    `repository` and `space`, as `user/name`, are where it is pushed to, if it is.
    """
    height, width = config.image_size
    experts = f" of {config.experts} experts" if config.experts else ""
    mirror = ", for the photograph and its mirror image" if config.mirrored else ""
    classes = ", ".join(f"{config.num_classes[a.name]} of {a.title.lower()}" for a in ATTRIBUTES)
    confidence = "calibrated confidence" if is_calibrated(config) else "confidence, which is not calibrated"
    if metrics["knows_trained_on"]:
        trained_on = (
            "None of the catalogue's pictures measured below is among those it was trained on; the other kinds of "
            "picture are split by contributor, style and source by `data_prep`, whose training parts `train fit` takes."
        )
    else:
        trained_on = "Whether it was trained on some of the pictures measured below is not known."
    return f"""---
{metadata(metrics).to_yaml()}
---

# {TITLE}

A photograph of a fashion product goes in; its color, product type, season of use and target gender come out, each with
a {confidence}. Backbone {config.backbone}, {config.heads} heads{experts}; input {height}×{width} pixels{mirror}, into
which the whole photograph is letterboxed; classes: {classes}, all named in `label_encoders.json`. {trained_on}

## Use it

{usage(repository, space)}

## How right it is

{markdown(metrics)}{diagrams(config)}

## What the season means

{season_limits(metrics)}

## Limits

The labels are those of one online catalogue, and not always true: pictures that stand under two ids now and then have
two colors. Labels with few pictures are answered too rarely: compare accuracy and macro F1. The phone photographs show
clothes, shoes and hats; bags, watches, jewellery and other accessories were seen in the catalogue alone, and pasted
before other grounds. Target gender is the catalogue's department (Boys, Girls, Men, Unisex, Women), and says nothing
about who may wear a product. Clothes and fashions of other regions and times are hardly in it.

## Data and licences

The recipe trains on: {SOURCES}.
"""


def is_calibrated(config: ModelConfig) -> bool:
    return {*config.temperatures.values()} != {1.0}


def diagrams(config: ModelConfig) -> str:
    """Links to what `train calibrate` drew, if it has been run."""
    if not is_calibrated(config):
        return ""
    links = ", ".join(f"[{a.title.lower()}]({reliability_file(a.name)})" for a in ATTRIBUTES)
    return f"\n\nAccuracy over confidence on the validation split: {links}."


def reliability_file(attribute: str) -> str:
    """Where in a checkpoint directory its diagram is."""
    return f"figures/reliability_{attribute}.png"


def usage(repository: str | None, space: str | None) -> str:
    """Three ways to ask the checkpoint."""
    source = repository or "path/to/this/directory"
    address = space or "http://127.0.0.1:7860"
    page = f"the Space [{space}](https://huggingface.co/spaces/{space})" if space else f"`{address}`"
    return f"""In Python, in the repository of the project:

```python
from fashion_model import FashionClassifier

prediction = FashionClassifier.from_pretrained("{source}").predict(["photograph.jpg"])[0]
print(prediction.product_type.label, prediction.product_type.confidence, prediction.color.top(5))
```

On a page: {page}; `FASHION_MODEL={source} python app.py` starts it anywhere. Through its client:

```python
from gradio_client import Client, handle_file

client = Client("{address}")
color, product_type, season, gender, *_ = client.predict(handle_file("photograph.jpg"), api_name="/predict")
```"""


def metadata(metrics: Mapping[str, Any]) -> ModelCardData:
    """What the Hub reads: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    measured = [("sharp photographs", metrics.get("sharp")), (None, metrics)]
    phone = metrics.get("visitors", {}).get("phone", {"attributes": {}})
    return ModelCardData(
        license="mit",
        library_name="pytorch",
        pipeline_tag=TASK,
        datasets=[DATASET],
        tags=[TASK, "fashion", "grad-cam", "safetensors"],
        model_name=TITLE,
        eval_results=[
            *(
                EvalResult(
                    task_type=TASK,
                    dataset_type=PHONE_DATASET,
                    dataset_name="Clothing dataset, photographs taken with phones",
                    dataset_split=metrics["split"],
                    metric_type="accuracy",
                    metric_name=f"{attribute_named(name).title}: first answer accepted",
                    metric_value=figures["accuracy"],
                )
                for name, figures in phone["attributes"].items()
            ),
        ]
        + [
            EvalResult(
                task_type=TASK,
                dataset_type=DATASET,
                dataset_name="Fashion Product Images" + (f", {kind}" if kind else ""),
                dataset_config=kind,
                dataset_split=metrics["split"],
                metric_type=metric,
                metric_name=f"{attribute.title}: {name}",
                metric_value=figures["attributes"][attribute.name][key],
            )
            for kind, figures in measured
            if figures
            for attribute in ATTRIBUTES
            for metric, name, key in (("accuracy", "accuracy", "accuracy"), ("f1", "macro F1", "macro_f1"))
        ],
    )


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
    found, labels = sharp["attributes"]["season"], sharp["season_shares"]["labels"]
    usual, guess = max(labels, key=labels.get), 1 / sum(share > 0 for share in labels.values())
    return (
        f"{text}; on sharp ones in {_percent(found['accuracy'])}. "
        f"Always answering {usual} would be right in {_percent(labels[usual])} of them. Averaged over the seasons, the "
        f"network is right in {_percent(found['balanced_accuracy'])}, a guess would be in {_percent(guess)}. Its "
        f"confidence in sharp photographs is off by {_percent(found['calibration_error'])} on average. The sharp "
        "photograph and the thumbnail of one product get the same season "
        f"in {_percent(sharp['agreement']['thumbnail']['season'])} of cases. Take it as a hint."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
