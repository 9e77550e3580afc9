"""A client of the one running page, uploads, and a classifier whose predictions are constants."""

import shutil

import numpy as np
import pytest
from gradio_client import Client

from fashion_model import FashionClassifier
from fashion_model.app.disk import folder
from fashion_model.app.single import EXAMPLES as PATHS
from fashion_model.checkpoint import Checkpoint
from fashion_model.predictions import AttributePrediction, Prediction
from tests.conftest import ATTRIBUTES, encoders_of, random_model

SHOES = PATHS[0]
# Of the three, four, five and six classes of the attributes.
PROBABILITIES = {
    "color": (0.96, 0.03, 0.01),
    "product_type": (0.2, 0.75, 0.05, 0.0),
    "season": (0.3, 0.25, 0.2, 0.15, 0.1),
    "gender": (0.5, 0.41, 0.03, 0.02, 0.02, 0.02),
}


class FakeClassifier(FashionClassifier):
    """Predicts PROBABILITIES for every photograph; black ones are no fashion. The maps are bright on the left."""

    def __init__(self):
        super().__init__(Checkpoint(random_model(), encoders_of(ATTRIBUTES), "fake"))

    def predict_and_map(self, image, classes):
        attributes = {
            name: AttributePrediction(self.encoders.labels[name], np.array(p, np.float32))
            for name, p in PROBABILITIES.items()
        }
        score = 1.25 if np.asarray(image).mean() > 20 else -1.25
        half = np.linspace(1, 0, 8, dtype=np.float32)[None].repeat(8, axis=0)
        maps = {name: np.stack([half] * min(classes, len(p))) for name, p in PROBABILITIES.items()}
        return Prediction(attributes, fashion_score=score, fashion_threshold=0.5), maps


@pytest.fixture(scope="session")
def client(served):
    return Client(served, verbose=False)


@pytest.fixture
def uploaded(tmp_path):
    """A function: the path of a file → gradio's FileData of its upload."""

    def upload(path):
        target = folder() / tmp_path.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        return {"path": str(shutil.copy(path, target)), "orig_name": path.name}

    return upload


@pytest.fixture(scope="session")
def usage_classifier(usage_checkpoint):
    """With a fifth attribute, `usage`."""
    return FashionClassifier.from_pretrained(usage_checkpoint)
