"""Color, product type, season of use and target gender of a fashion product, from a photograph."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_model.checkpoint import CheckpointError, HubCheckpointError
    from fashion_model.classifier import FashionClassifier
    from fashion_model.images import ImageError
    from fashion_model.predictions import AttributePrediction, Prediction

__all__ = [
    "AttributePrediction",
    "CheckpointError",
    "FashionClassifier",
    "HubCheckpointError",
    "ImageError",
    "Prediction",
    "__version__",
]
__version__ = "1.0.0"
# Imported when they are asked for: PyTorch takes seconds.
_MODULES = {
    "AttributePrediction": "predictions",
    "CheckpointError": "checkpoint",
    "FashionClassifier": "classifier",
    "HubCheckpointError": "checkpoint",
    "ImageError": "images",
    "Prediction": "predictions",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
