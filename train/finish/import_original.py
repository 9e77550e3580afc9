"""Convert a checkpoint of the original project (model_efficientnet.pth, label_encoders.json) to a checkpoint directory.

The network is EfficientNetV2-S with four linear heads and gives the same logits for the same input tensor. Images are
letterboxed and normalized as everywhere in this project. The original has no fashion score: every image counts as a
fashion product. The file is read without unpickling code. Run `train calibrate` and `train evaluate` afterwards.
"""

from dataclasses import dataclass
from pathlib import Path

from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import CheckpointError, save_checkpoint
from fashion_model.models.backbones import EFFICIENTNET_V2_S, file_state
from fashion_model.models.config import ModelConfig
from fashion_model.models.multitask import MultiTaskClassifier
from train.data.table import attributes_named, with_words

HEADS = {"color_head": "color", "type_head": "product_type", "season_head": "season", "gender_head": "gender"}
RENAMED = {f"{head}.1.": f"heads.linear.{name}." for head, name in HEADS.items()} | {
    "backbone.features.": "backbone.net."
}


@dataclass(frozen=True)
class Config:
    weights: Path  # its model_efficientnet.pth
    labels: Path  # its label_encoders.json
    output: Path  # the checkpoint directory to write
    image_size: tuple[int, int] = (224, 224)  # height and width of the input


def run(config: Config) -> None:
    """WeightsError or CheckpointError if the files are not the original project's, or the output exists."""
    weights, labels, attributes = config.weights, config.labels, attributes_named(tuple(HEADS.values()))
    if config.output.exists():
        raise CheckpointError(f"{config.output} exists already; metrics in it would be taken for this network's")
    try:
        encoders = with_words(LabelEncoders.load(labels, attributes).labels)
    except ValueError as error:
        raise CheckpointError(f"{labels}: {error}") from error
    size, classes = config.image_size, encoders.num_classes
    model = MultiTaskClassifier(ModelConfig.for_backbone(EFFICIENTNET_V2_S, attributes, classes, image_size=size))
    tensors = model.fashion.state_dict(prefix="fashion.")
    for key, tensor in file_state(weights).items():  # such as backbone.features.0.weight → backbone.net.0.weight
        theirs = next((start for start in RENAMED if key.startswith(start)), "")
        tensors[RENAMED.get(theirs, "") + key.removeprefix(theirs)] = tensor
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit {labels}: {error}") from error
    save_checkpoint(config.output, model, encoders)
    print(f"{config.output}: run train calibrate and train evaluate on it")
