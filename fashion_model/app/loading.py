"""The classifier that the environment asks for."""

from __future__ import annotations

import os
import threading

from fashion_model.checkpoint import CheckpointError, HubCheckpointError
from fashion_model.classifier import FashionClassifier
from fashion_model.hub import DEFAULT_TIMEOUT


def load_classifier() -> tuple[FashionClassifier, str]:
    """The checkpoint that FASHION_MODEL names, and a warning if the embedded default replaces it.

    CheckpointError for a directory that cannot be used, or a source that cannot exist.
    """
    source = os.environ.get("FASHION_MODEL") or None
    try:
        return FashionClassifier.from_pretrained(source, timeout=hub_timeout()), ""
    except HubCheckpointError as error:
        return FashionClassifier.from_pretrained(), f"{error}. The embedded default answers instead."


def hub_timeout() -> float:
    """Seconds."""
    text = os.environ.get("FASHION_MODEL_TIMEOUT") or str(DEFAULT_TIMEOUT)
    wrong = CheckpointError(f"FASHION_MODEL_TIMEOUT has to be a number of seconds; it is {text!r}")
    try:
        seconds = float(text)
    except ValueError as error:
        raise wrong from error
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise wrong
    return seconds
