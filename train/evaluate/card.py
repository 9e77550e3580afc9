"""The model card: README.md of a checkpoint directory and of its repository on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from data_prep.splits import TEST
from fashion_model.models.config import ModelConfig
from train.evaluate.reliability import reliability_file
from train.evaluate.split_metrics import SplitMetrics
from train.evaluate.tables import markdown

CARD = "README.md"
TITLE = "Fashion Product Classifier"
DATASET = "ashraq/fashion-product-images-small"
PHONE_DATASET = "alexeygrigorev/clothing-dataset"
TASK = "image-classification"
SEASON = "season"  # what the card explains if the checkpoint predicts it
SOURCES = (
    "*Fashion Product Images* (Kaggle `paramaggarwal/fashion-product-images-small`, on the Hub "
    f"`{DATASET}`, MIT), the Clothing dataset (`{PHONE_DATASET}`, CC0; the names accepted of its "
    "photographs were chosen by a multimodal model, not by people), `magento/magento2-sample-data` (AFL-3.0), "
    "GroceryStoreDataset and TrashNet (MIT), Caltech-101 and the DreamBooth data set (CC BY 4.0), ambientCG's textures "
    "(CC0); the backbone starts from ImageNet weights of Google's EfficientNet-Lite (Apache-2.0)"
)


def model_card(
    config: ModelConfig, metrics: SplitMetrics, repository: str | None = None, space: str | None = None
) -> str:
    """Metadata for the Hub, then Markdown: what the checkpoint is, how to use it, metrics of the test split, limits.

    `repository` and `space`, as `user/name`, are where it is pushed to.
    """
    height, width = config.image_size
    experts = f" with {config.experts} experts" if config.experts else ""
    classes = ", ".join(f"{config.num_classes[a.name]} of {a.title.lower()}" for a in config.attributes)
    titles = ", ".join(a.title.lower() for a in config.attributes)
    confidence = "a calibrated confidence" if is_calibrated(config) else "a confidence that is not calibrated"
    if metrics.trained_on_known:
        trained_on = (
            "It was not trained on any catalogue image measured below; the other domains are split by contributor, "
            "style and source by `data_prep`, and `train fit` uses their training parts."
        )
    else:
        trained_on = "It is not known whether it was trained on images measured below."
    return f"""---
{metadata(config, metrics).to_yaml()}
---

# {TITLE}

From a photograph of a fashion product: {titles}, each with {confidence}. Backbone {config.backbone}, {config.heads}
heads{experts}; input {height}×{width} pixels, letterboxed; classes: {classes}, all named in `label_encoders.json`.
{trained_on}

## Usage

{usage(repository, space)}

## Evaluation

{markdown(config.attributes, metrics, TEST)}{diagrams(config)}
{season_section(metrics)}
## Limitations

The labels are those of one online catalogue, and not always true. Classes with few images are rarely predicted:
compare accuracy and macro F1. The phone photographs show clothes, shoes and hats; bags, watches, jewellery and other
accessories were trained on catalogue images only. Target gender is the catalogue's department (Boys, Girls, Men,
Unisex, Women) and says nothing about who may wear a product. Clothes of other regions and times are rare in the data.

## Data and licenses

The recipe trains on: {SOURCES}.
"""


def is_calibrated(config: ModelConfig) -> bool:
    return {*config.temperatures.values()} != {1.0}


def diagrams(config: ModelConfig) -> str:
    """Links to the reliability diagrams, if the checkpoint is calibrated."""
    if not is_calibrated(config):
        return ""
    links = ", ".join(f"[{a.title.lower()}]({reliability_file(a.name)})" for a in config.attributes)
    return f"\n\nReliability diagrams on the validation split: {links}."


def usage(repository: str | None, space: str | None) -> str:
    """Python, the page, and its client."""
    source = repository or "path/to/this/directory"
    address = space or "http://127.0.0.1:7860"
    page = f"the Space [{space}](https://huggingface.co/spaces/{space})" if space else f"`{address}`"
    return f"""With the project installed:

```python
from fashion_model import FashionClassifier

prediction = FashionClassifier.from_pretrained("{source}").predict(["photograph.jpg"])[0]
print(prediction.product_type.label, prediction.product_type.confidence, prediction.color.top(5))
```

On a page: {page}; `FASHION_MODEL={source} python app.py` serves it anywhere. Through its client:

```python
from gradio_client import Client, handle_file

client = Client("{address}")
color, product_type, season, gender, *_ = client.predict(handle_file("photograph.jpg"), api_name="/predict")
```"""


def metadata(config: ModelConfig, metrics: SplitMetrics) -> ModelCardData:
    """For the Hub: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    results = [
        _result(PHONE_DATASET, "Clothing dataset, phone photographs", None, f"{a.title}: prediction accepted", found)
        for a in config.attributes
        if (found := metrics.phone.get("attributes", {}).get(a.name))
    ]
    for name, section in (("high-resolution", metrics.high_resolution), (None, metrics.thumbnails)):
        for a in config.attributes:
            if found := section.get("attributes", {}).get(a.name):
                title = "Fashion Product Images" + (f", {name}" if name else "")
                results.append(_result(DATASET, title, name, f"{a.title}: accuracy", found))
                results.append(_result(DATASET, title, name, f"{a.title}: macro F1", found, "f1", "macro_f1"))
    return ModelCardData(
        license="mit",
        library_name="pytorch",
        pipeline_tag=TASK,
        datasets=[DATASET],
        tags=[TASK, "fashion", "grad-cam", "safetensors"],
        model_name=TITLE,
        eval_results=results,
    )


def _result(
    dataset: str,
    title: str,
    config: str | None,
    name: str,
    found: Mapping[str, Any],
    metric: str = "accuracy",
    key: str = "accuracy",
) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=dataset,
        dataset_name=title,
        dataset_config=config,
        dataset_split=TEST,
        metric_type=metric,
        metric_name=name,
        metric_value=found[key],
    )


def season_section(metrics: SplitMetrics) -> str:
    """What the predicted season can and cannot mean; empty if the checkpoint does not predict it."""
    thumbnails = metrics.thumbnails["attributes"].get(SEASON)
    if not thumbnails:
        return ""
    text = (
        "In this catalogue the season mostly follows the date of listing: what was listed in 2012 is Summer. A "
        "photograph does not show it, so take the season as a hint. On the catalogue's thumbnails it is right in "
        f"{_percent(thumbnails['accuracy'])} of cases"
    )
    found = metrics.high_resolution.get("attributes", {}).get(SEASON)
    if found:
        text += (
            f"; on high-resolution photographs in {_percent(found['accuracy'])}, where always predicting the most "
            f"frequent season would be right in {_percent(found['majority_share'])}. Averaged over the seasons it is "
            f"right in {_percent(found['balanced_accuracy'])}. The photograph and the thumbnail of a product get the "
            f"same season in {_percent(metrics.agreement['thumbnail'][SEASON])} of cases"
        )
    return f"\n## What the season means\n\n{text}.\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
