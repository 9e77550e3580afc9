"""Create or update the Gradio Space from this repository's files, in one commit.

The Space serves the commit that the model's branch, tag or sha points to now, pinned in its variable FASHION_MODEL.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import RepoCard

from fashion_model.checkpoint import ENCODERS
from fashion_model.hub import DEFAULT_TIMEOUT, HubError
from train.publish.hub_commit import clear_errors, commit, connect, create

ROOT = Path(__file__).parents[2]
VARIABLE = "FASHION_MODEL"
LOCAL = {"__pycache__", "predictions"}  # folders that stay on this machine
NEEDED = ("app.py", "requirements.txt", "LICENSE", ".github/screenshot.png", "fashion_model/**/*")


@dataclass(frozen=True)
class Config:
    space: str  # user/name; created if it does not exist
    model: str  # the checkpoint to serve, user/name or user/name@revision
    private: bool = False  # create a private Space
    timeout: float = DEFAULT_TIMEOUT  # seconds a request may stall; most are repeated up to five times


def run(config: Config) -> None:
    model, _, revision = config.model.partition("@")
    push_space(config.space, model, revision or None, config.private, config.timeout)


def files_of_space(model: str) -> dict[str, Path | bytes]:
    """Path in the Space → content: the app, the package with the embedded default, and the README."""
    found = sorted(path for pattern in NEEDED for path in ROOT.glob(pattern) if path.is_file())
    files: dict[str, Path | bytes] = {
        path.relative_to(ROOT).as_posix(): path for path in found if not LOCAL & set(path.parts)
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
        first = [{"key": VARIABLE, "value": pinned}]  # set before the first start
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
    with clear_errors(f"{space} is committed, but its variable {VARIABLE} is unchanged"):
        api.add_space_variable(space, VARIABLE, pinned)
    print(f"https://huggingface.co/spaces/{space} serves {pinned}")
    if served.private or served.gated:
        print(
            f"{model} is not public: the Space needs a secret HF_TOKEN that may read it, or the embedded default serves"
        )
    return done.oid
