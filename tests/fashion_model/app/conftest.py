"""Clients of running pages, and a classifier whose answers are written down."""

import numpy as np
import pytest
from gradio_client import Client

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.predictions import AttributePrediction, Prediction
from tests.conftest import ATTRIBUTES, encoders_of, random_model, serving

# Of the three, four, five and six classes of the attributes.
PROBABILITIES = {
    "color": (0.96, 0.03, 0.01),
    "product_type": (0.2, 0.75, 0.05, 0.0),
    "season": (0.3, 0.25, 0.2, 0.15, 0.1),
    "gender": (0.5, 0.41, 0.03, 0.02, 0.02, 0.02),
}


def prediction_of(probabilities, is_fashion=True):
    labels = encoders_of(ATTRIBUTES).labels
    return Prediction(
        {name: AttributePrediction(labels[name], np.array(p, np.float32)) for name, p in probabilities.items()},
        fashion_score=1.0 if is_fashion else -1.0,
        fashion_threshold=0.0,
    )


class FakeClassifier(FashionClassifier):
    """Answers PROBABILITIES for every photograph; black ones are no fashion. The maps are bright on the left."""

    def __init__(self):
        super().__init__(Checkpoint(random_model(), encoders_of(ATTRIBUTES), "fake"))

    def predict_and_map(self, image, classes):
        prediction = prediction_of(PROBABILITIES, is_fashion=bool(np.asarray(image).mean() > 20))
        half = np.linspace(1, 0, 8, dtype=np.float32)[None].repeat(8, axis=0)
        return prediction, {name: np.stack([half] * min(classes, len(p))) for name, p in PROBABILITIES.items()}


@pytest.fixture(scope="session")
def fake():
    """The address of its page."""
    with serving(FakeClassifier()) as address:
        yield address


@pytest.fixture(scope="session")
def client(served):
    """Of the page for the embedded default."""
    return Client(served, verbose=False)


@pytest.fixture(scope="session")
def usage_classifier(usage_checkpoint):
    return FashionClassifier.from_pretrained(usage_checkpoint)


@pytest.fixture(scope="session")
def usage_client(usage_classifier):
    """Of the page for a checkpoint with a fifth attribute, `usage`."""
    with serving(usage_classifier) as address:
        yield Client(address, verbose=False)
