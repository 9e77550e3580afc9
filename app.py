"""Serve the page on http://127.0.0.1:7860.

FASHION_MODEL names the checkpoint: a directory, or `user/repo` or `user/repo@revision` on the Hub; unset, the embedded
default. FASHION_MODEL_TIMEOUT is how many seconds to wait for a Hub that sends nothing. After that, or if the
repository cannot be used, the embedded default is served, and page and log say so.
"""

import os
import sys
import threading

from fashion_model.system import ended_by_ctrl_c, exit_with, show_all_characters

with ended_by_ctrl_c():
    from fashion_model import CheckpointError, FashionClassifier
    from fashion_model.app.disk import FOLDER, keep_clean, own_folder
    from fashion_model.app.page import launch
    from fashion_model.checkpoint import HubCheckpointError
    from fashion_model.hub import DEFAULT_TIMEOUT


def main() -> None:
    show_all_characters()
    try:
        uploads = own_folder()
        classifier, warning = load_classifier()
    except OSError as error:
        sys.exit(f"app: uploads need a folder to write to, which {FOLDER} can name: {error}")
    except CheckpointError as error:
        sys.exit(f"app: {error}")
    keep_clean(uploads)
    if warning:
        print(f"app: {warning}", file=sys.stderr, flush=True)
    classifier.take_all_cores()
    threading.Thread(target=classifier.warm_up, daemon=True, name="warm up").start()
    page, _ = launch(classifier, warning)
    page.block_thread()


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
    exit_with(main)
