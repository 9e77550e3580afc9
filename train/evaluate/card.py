"""The model card: README.md of a checkpoint directory and of its repository on the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from data_prep.photographs import HIGH_RESOLUTION
from data_prep.splits import TEST
from fashion_model.checkpoint import CONFIG, TRAINING, read_json
from fashion_model.models.config import ModelConfig
from train.data.domains import PHONE, THUMBNAILS, WORN
from train.evaluate.metrics import reliability_file
from train.evaluate.tables import TITLES, markdown

TITLE = "Fashion Product Classifier"
TEMPLATE = Path(__file__).with_name("card.md.jinja")
START = "From a photograph of a fashion product: "  # of the text of every card
TASK = "image-classification"
DATASET = "ashraq/fashion-product-images-small"
# Data set of each domain whose figures the Hub shows.
DATASETS = {
    PHONE: "alexeygrigorev/clothing-dataset",
    WORN: "bearpaw/clothing-co-parsing",
    HIGH_RESOLUTION: DATASET,
    THUMBNAILS: DATASET,
}


def model_card(
    checkpoint: Path, metrics: Mapping[str, Any], repository: str | None = None, space: str | None = None
) -> str:
    """Metadata for the Hub, then Markdown: what the checkpoint is, how to use it, metrics of the test split, limits.

    `metrics`: of the test split. `repository` and `space`, as `user/name`, are where it is pushed to.
    """
    config = ModelConfig.from_dict(read_json(checkpoint / CONFIG))
    hours = read_json(checkpoint / TRAINING)["hours"] if (checkpoint / TRAINING).is_file() else None
    card = ModelCard.from_template(
        card_data=metadata(config, metrics),
        template_path=str(TEMPLATE),
        title=TITLE,
        calibrated={*config.temperatures.values()} != {1.0},
        config=config,
        metrics=metrics,
        tables=markdown(config.attributes, metrics, TEST),
        reliability_file=reliability_file,
        hours=hours,
        repository=repository,
        space=space,
    )
    return str(card)


def metadata(config: ModelConfig, metrics: Mapping[str, Any]) -> ModelCardData:
    """The card's metadata, as in https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=dataset,
            dataset_name=TITLES[domain],
            dataset_config=domain,
            dataset_split=TEST,
            metric_type="accuracy",
            metric_name=f"{a.title}: prediction accepted",
            metric_value=measured["accuracy"],
        )
        for domain, dataset in DATASETS.items()
        for a in config.attributes
        if (measured := metrics["domains"].get(domain, {"attributes": {}})["attributes"].get(a.name))
    ]
    return ModelCardData(
        license="mit",
        library_name="pytorch",
        pipeline_tag=TASK,
        datasets=[DATASET],
        tags=[TASK, "fashion", "grad-cam", "safetensors"],
        model_name=TITLE,
        eval_results=results,
    )
