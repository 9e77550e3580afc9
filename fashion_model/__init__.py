"""Color, product type, season of use and target gender of a fashion product, from a photograph."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_model.checkpoint import CheckpointError as CheckpointError
    from fashion_model.checkpoint import HubCheckpointError as HubCheckpointError
    from fashion_model.classifier import FashionClassifier as FashionClassifier
    from fashion_model.images import ImageError as ImageError
    from fashion_model.predictions import AttributePrediction as AttributePrediction
    from fashion_model.predictions import Prediction as Prediction
    from fashion_model.predictions import Product as Product

__version__ = "1.0.0"
# Imported when they are asked for: PyTorch takes seconds.
_MODULES = {
    "AttributePrediction": "predictions",
    "CheckpointError": "checkpoint",
    "FashionClassifier": "classifier",
    "HubCheckpointError": "checkpoint",
    "ImageError": "images",
    "Prediction": "predictions",
    "Product": "predictions",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
