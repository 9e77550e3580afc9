"""The checkpoints that the environment asks for."""

from __future__ import annotations

import os
import threading

from fashion_model.checkpoint import CheckpointError, HubCheckpointError
from fashion_model.classifier import FashionClassifier
from fashion_model.hub import DEFAULT_TIMEOUT


class Models:
    """The classifiers that the page serves, by name; each is loaded when it is first asked for, and kept."""

    def __init__(self, sources: list[str], first: FashionClassifier, timeout: float = DEFAULT_TIMEOUT):
        """`sources`: what `from_pretrained` takes; the first one is loaded already."""
        self.names = (first.name, *sources[1:])
        self.first = first
        self._timeout = timeout
        self._loaded = {first.name: first}
        self._lock = threading.Lock()

    def get(self, name: str | None = None) -> FashionClassifier:
        """The first one for None. CheckpointError for a name that is not served or a checkpoint that cannot be used."""
        if not name:
            return self.first
        if name not in self.names:
            raise CheckpointError(f"the model {name!r} is not served here; there are {', '.join(self.names)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = FashionClassifier.from_pretrained(name, timeout=self._timeout)
            return self._loaded[name]


def load_models() -> tuple[Models, str]:
    """The checkpoints that FASHION_MODEL names, separated by commas, and a warning if the embedded default replaces the
    first.

    CheckpointError for a directory that cannot be used, or a source that cannot exist.
    """
    sources = [source.strip() for source in os.environ.get("FASHION_MODEL", "").split(",") if source.strip()]
    timeout, warning = hub_timeout(), ""
    try:
        first = FashionClassifier.from_pretrained(sources[0] if sources else None, timeout=timeout)
    except HubCheckpointError as error:
        warning = f"{error}. The embedded default answers instead."
        first = FashionClassifier.from_pretrained()
    return Models(sources, first, timeout), warning


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
