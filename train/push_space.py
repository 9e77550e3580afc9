"""Create or update the Gradio Space from this repository's files.

    python -m train push_space --space user/fashion-product-classifier --model user/fashion-product-classifier@v1

The Space serves the commit that the model's branch, tag or sha stands for now, pinned in its variable FASHION_MODEL.
What else it needs is committed in one commit; files in the Space that this repository does not know stay.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from huggingface_hub import RepoCard

from fashion_model.checkpoint import ENCODERS
from fashion_model.hub import DEFAULT_TIMEOUT, HubError
from train.publish import add_timeout_argument, clear_errors, commit, connect, create

ROOT = Path(__file__).parent.parent
VARIABLE = "FASHION_MODEL"
NEEDED = ("app.py", "requirements.txt", "LICENSE", ".github/screenshot.png", "fashion_model/**/*")


def files_of_space(model: str) -> dict[str, Path | bytes]:
    """Path in the Space → content: the app, the package with the embedded default, the README that names `model`."""
    found = sorted(path for pattern in NEEDED for path in ROOT.glob(pattern) if path.is_file())
    files: dict[str, Path | bytes] = {
        path.relative_to(ROOT).as_posix(): path for path in found if "__pycache__" not in path.parts
    }
    card = RepoCard.load(ROOT / "README.md", ignore_metadata_errors=False)
    card.data.models = [model]
    return files | {"README.md": str(card).encode()}


def push_space(
    space: str, model: str, revision: str | None, private: bool = False, timeout: float = DEFAULT_TIMEOUT
) -> str:
    """Deploy `space` with `model` (on the Hub) at `revision`; returns the Space's commit. HubError if it fails."""
    with clear_errors(model):
        api = connect(timeout)
        served = api.model_info(model, revision=revision)
        if not api.file_exists(model, ENCODERS, revision=served.sha):
            raise HubError(f"it holds no {ENCODERS}, so it is no checkpoint of this project")
    pinned = f"{model}@{served.sha}"
    with clear_errors(space):
        first = [{"key": VARIABLE, "value": pinned}]  # a new one has it from its first start on
        create(api, space, private, repo_type="space", space_sdk="gradio", space_variables=first)
        done = commit(
            api,
            space,
            files_of_space(model),
            ours=["fashion_model/*"],
            sign="fashion_model/__init__.py",
            message=f"Serve {pinned}",
            repo_type="space",
        )
    print(done.commit_url)
    with clear_errors(f"{space} is committed, but its variable {VARIABLE} is as it was"):
        api.add_space_variable(space, VARIABLE, pinned)
    print(f"https://huggingface.co/spaces/{space} serves {pinned}")
    if served.private or served.gated:
        print(
            f"{model} is not public: the Space needs a secret HF_TOKEN that may read it, or the embedded default serves"
        )
    return done.oid


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train push_space", description=__doc__.split("\n")[0])
    parser.add_argument("--space", required=True, metavar="USER/NAME", help="created if need be")
    parser.add_argument("--model", required=True, metavar="USER/NAME[@REVISION]", help="the checkpoint to serve")
    parser.add_argument("--private", action="store_true", help="for your own eyes")
    add_timeout_argument(parser)
    options = parser.parse_args(arguments)
    model, _, revision = options.model.partition("@")
    try:
        push_space(options.space, model, revision or None, options.private, options.timeout)
    except HubError as error:
        print(f"push_space: {error}", file=sys.stderr)
        return 2
    return 0
