"""Color, product type, season of use and target gender of a fashion product, from a photograph."""

from fashion_model.checkpoint import CheckpointError, HubCheckpointError
from fashion_model.classifier import AttributePrediction, FashionClassifier, Prediction
from fashion_model.images import ImageError

__all__ = [
    "AttributePrediction",
    "CheckpointError",
    "FashionClassifier",
    "HubCheckpointError",
    "ImageError",
    "Prediction",
]
