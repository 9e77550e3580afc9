"""Serve the page on http://127.0.0.1:7860.

FASHION_MODEL names the checkpoint: a directory, `user/repo` or `user/repo@revision` on the Hub, or several separated by
commas; unset, the embedded default. FASHION_MODEL_TIMEOUT is how many seconds to wait for a Hub that sends nothing.
After that, or if the repository cannot be used, the embedded default is served, and page and log say so.
"""

import sys
import threading

from fashion_model.console import ended_by_ctrl_c, exit_with, show_all_characters

with ended_by_ctrl_c():
    from fashion_model import CheckpointError
    from fashion_model.app.disk import FOLDER, keep_clean, own_folder
    from fashion_model.app.loading import load_models
    from fashion_model.app.page import launch


def main() -> None:
    show_all_characters()
    try:
        uploads = own_folder()
        models, warning = load_models()
    except OSError as error:
        sys.exit(f"app: uploads need a folder to write to, which {FOLDER} can name: {error}")
    except CheckpointError as error:
        sys.exit(f"app: {error}")
    keep_clean(uploads)
    if warning:
        print(f"app: {warning}", file=sys.stderr, flush=True)
    models.first.take_all_cores()
    threading.Thread(target=models.first.warm_up, daemon=True, name="warm up").start()
    demo, _ = launch(models, warning)
    demo.block_thread()


if __name__ == "__main__":
    exit_with(main)
