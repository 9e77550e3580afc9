"""Serve the page on http://127.0.0.1:7860.

FASHION_MODEL names the checkpoint: a directory, or `user/repo` or `user/repo@revision` on the Hub; unset, the embedded
default. FASHION_MODEL_TIMEOUT is how many seconds to wait for a Hub that sends nothing. After that, or if the
repository cannot be used, the embedded default is served, and page and log say so.
"""

import os
import sys
import threading
from functools import partial
from typing import Any

from fashion_model.system import end_at_once, on_signals, show_all_characters

with on_signals(end_at_once):
    from fashion_model import CheckpointError, FashionClassifier
    from fashion_model.app.disk import FOLDER_VARIABLE, keep_clean, own_folder
    from fashion_model.checkpoint import HubCheckpointError
    from fashion_model.hub import DEFAULT_TIMEOUT

LIMIT = "GRADIO_DEFAULT_CONCURRENCY_LIMIT"
# Environment variables that gradio takes for numbers, and the least value of each.
NUMBERS = {"GRADIO_SERVER_PORT": 1, "GRADIO_NUM_PORTS": 1, "GRADIO_NODE_NUM_PORTS": 1, "GRADIO_NUM_WORKERS": 1}
NUMBERS |= {"GRADIO_DEBUG": 0, "GRADIO_ANALYTICS_MAX_EVENTS": 1, LIMIT: 1}
STOP_SECONDS = 0.5  # that requests in progress have to end when the app is stopped


def main() -> None:
    show_all_characters()
    try:
        check_numbers()
        uploads = own_folder()
        classifier, warning = load_classifier()
    except OSError as error:
        sys.exit(f"app: uploads need a folder to write to, which {FOLDER_VARIABLE} can name: {error}")
    except ValueError as error:
        sys.exit(f"app: {error}")
    from fashion_model.app.page import launch  # gradio reads the environment when it is imported

    os.umask(0o077)  # whoever deletes the folder of uploads while the app runs finds the next one private, too
    threading.Thread(target=keep_clean, args=[uploads], daemon=True, name="clean uploads").start()
    if warning:
        print(f"app: {warning}", file=sys.stderr, flush=True)
    classifier.take_all_cores()
    threading.Thread(target=classifier.warm_up, daemon=True, name="warm up").start()
    try:
        page, _ = launch(classifier, warning)
    except OSError as error:
        sys.exit(f"app: {error}")
    with on_signals(partial(stop, page)):
        page.block_thread()


def stop(page: Any, *_: object) -> None:
    """End the process with status 0, and without waiting for a batch or for pages that are open."""
    closing = threading.Thread(target=page.close, daemon=True)
    closing.start()
    closing.join(STOP_SECONDS)
    sys.stdout.flush()
    os._exit(0)


def check_numbers() -> None:
    """ValueError for what gradio cannot read: Kubernetes sets GRADIO_SERVER_PORT=tcp://… for a service of that name."""
    for name, least in NUMBERS.items():
        text = os.environ.get(name, "1")
        unlimited = name == LIMIT and text.lower() in ("", "none")
        if not unlimited and not (text.isascii() and text.isdigit() and least <= int(text) < 65536):
            raise ValueError(f"{name} has to be a number from {least} to 65535; it is {text!r}")
    root = os.environ.get("GRADIO_ROOT_PATH") or "/"
    if not root.startswith(("/", "http://", "https://")):
        raise ValueError(f"GRADIO_ROOT_PATH has to begin with a slash; it is {root!r}")


def load_classifier() -> tuple[FashionClassifier, str]:
    """The checkpoint that FASHION_MODEL names, and a warning if the embedded default replaces it.

    CheckpointError for a directory that cannot be used, or a source that cannot exist.
    """
    try:
        source = os.environ.get("FASHION_MODEL", "").strip() or None
        return FashionClassifier.from_pretrained(source, timeout=hub_timeout()), ""
    except HubCheckpointError as error:
        return FashionClassifier.from_pretrained(), f"{error}. The embedded default answers instead."


def hub_timeout() -> float:
    """Seconds."""
    text = os.environ.get("FASHION_MODEL_TIMEOUT") or str(DEFAULT_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise CheckpointError(f"FASHION_MODEL_TIMEOUT has to be a number of seconds; it is {text!r}")
    return seconds


if __name__ == "__main__":
    with on_signals(end_at_once):
        main()
