"""Color, product type, season of use and target gender of a fashion product, from a photograph."""

from fashion_model.checkpoint import CheckpointError, HubCheckpointError
from fashion_model.classifier import FashionClassifier
from fashion_model.images import ImageError
from fashion_model.predictions import AttributePrediction, Prediction
from fashion_model.version import __version__

__all__ = [
    "AttributePrediction",
    "CheckpointError",
    "FashionClassifier",
    "HubCheckpointError",
    "ImageError",
    "Prediction",
    "__version__",
]
