"""Clients of running pages."""

import pytest
from gradio_client import Client

from fashion_model import FashionClassifier
from tests.conftest import serving


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
