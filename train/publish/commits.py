"""Write a checkpoint or a Space to its repository on the Hub, each in one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoCard,
    constants,
)
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects

from fashion_model.checkpoint import CHECKPOINT_FILES, CONFIG, ENCODERS
from fashion_model.hub import FAULTS, HubError, reason, use_client

ROOT = Path(__file__).parents[2]
VARIABLE = "FASHION_MODEL"
PACKAGE, DEFAULT = "fashion_model", "fashion_model/default_checkpoint"
PACKAGE_FILES = (
    *(f"{PACKAGE}/{pattern}" for pattern in ("*.py", "README.md", "py.typed", "app/static/*", "examples/*.jpg")),
    *(f"{DEFAULT}/{pattern}" for pattern in CHECKPOINT_FILES),
)
CREATED_WITH = {".gitattributes", "README.md"}  # files of a repository created on the website


def files_in(folder: Path, patterns: Sequence[str], below: str = "") -> dict[str, Path]:
    """Path relative to `folder` → path of the files under `folder/below` that match one of `patterns`."""
    paths = (path for path in sorted((folder / below).rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: names[name] for name in filter_repo_objects(names, allow_patterns=list(patterns))}


def files_of_space(model: str, root: Path = ROOT) -> dict[str, Path | bytes]:
    """Path in the Space → content: the app, the package with the embedded default, and the README.

    HubError if `root` is not a checkout.
    """
    files: dict[str, Path | bytes] = {**files_in(root, PACKAGE_FILES, below=PACKAGE)}
    files |= {name: root / name for name in ("app.py", "requirements.txt", "LICENSE", ".github/screenshot.png")}
    for name in (f"{PACKAGE}/__init__.py", f"{DEFAULT}/{CONFIG}", *files):
        if not (root / name).is_file():
            raise HubError(f"{root} has no {name}, so the Space could not start")
    card = RepoCard.load(root / "README.md", ignore_metadata_errors=False)
    card.data.models = [model]
    return files | {"README.md": str(card).encode()}


def push_checkpoint(
    repository: str, files: Mapping[str, Path | bytes], private: bool, tag: str | None, timeout: float
) -> str:
    """Create the repository if needed, commit `files`, tag the commit; returns its sha. HubError on failure."""
    with clear_errors(repository):
        api = connect(timeout)
        create(api, repository, private)
        if tag and any(known.name == tag for known in api.list_repo_refs(repository).tags):
            raise HubError(f"the tag {tag} exists already")
        done = commit(api, repository, files, ours=CHECKPOINT_FILES, sign=ENCODERS, message="Upload checkpoint")
        print(f"{done.commit_url}\n{done.oid}")
    if tag:
        with clear_errors(f"{repository} is committed, but not tagged"):
            api.create_tag(repository, tag=tag, revision=done.oid)
        print(f"tagged {tag}")
    return done.oid


def push_space(space: str, model: str, revision: str | None, private: bool, timeout: float) -> None:
    """Deploy `space` with `model` (on the Hub) at the commit to which `revision` points now. HubError on failure."""
    files = files_of_space(model)
    with clear_errors(model):
        api = connect(timeout)
        served = api.model_info(model, revision=revision)
        if not api.file_exists(model, ENCODERS, revision=served.sha):
            raise HubError(f"it holds no {ENCODERS}, so it is no checkpoint of this project")
    pinned = f"{model}@{served.sha}"
    with clear_errors(space):
        first = [{"key": VARIABLE, "value": pinned}]  # set before the first start
        create(api, space, private, repo_type="space", space_sdk="gradio", space_variables=first)
        sign, message = f"{PACKAGE}/__init__.py", f"Serve {pinned}"
        done = commit(api, space, files, ours=PACKAGE_FILES, sign=sign, message=message, repo_type="space")
    print(done.commit_url)
    with clear_errors(f"{space} is committed, but its variable {VARIABLE} is unchanged"):
        api.add_space_variable(space, VARIABLE, pinned)
    print(f"https://huggingface.co/spaces/{space} serves {pinned}")
    if served.private or served.gated:
        print(
            f"{model} is not public: the Space needs a secret HF_TOKEN that may read it, or the embedded default serves"
        )


@contextmanager
def clear_errors(repository: str) -> Iterator[None]:
    """Errors of the Hub and of the network become a HubError that names the repository."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("there is no token: `hf auth login` stores one, or set HF_TOKEN") from error
    except HubError as error:
        raise HubError(f"{repository}: {error}") from error
    except FAULTS as error:
        raise HubError(f"{repository}: {reason(error)}") from error


def connect(timeout: float) -> HfApi:
    """The Hub's client with this machine's token. HubError if there is none or HF_HUB_OFFLINE is set.

    `timeout`: seconds that a request may stall; the client repeats most requests up to five times.
    """
    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set")
    use_client(timeout)
    api = HfApi()
    api.whoami()
    return api


def create(api: HfApi, repository: str, private: bool, **kind: Any) -> None:
    """Create the repository if it does not exist; `kind` is for `create_repo`. HubError if it exists but is public."""
    api.create_repo(repository, private=private or None, exist_ok=True, **kind)
    if private and not api.repo_info(repository, repo_type=kind.get("repo_type")).private:
        raise HubError("it exists already and is public, so --private cannot hold")


def commit(
    api: HfApi,
    repository: str,
    files: Mapping[str, Path | bytes],
    *,
    ours: Sequence[str],
    sign: str,
    message: str,
    repo_type: str = "model",
) -> CommitInfo:
    """Write `files` (path in the repository → content) in one commit.

    Files in the repository that match a pattern of `ours` and are not among `files` are deleted in the same commit;
    others stay. HubError if the repository lacks `sign`, a file that all of this kind have, and is not new.
    """
    head = api.repo_info(repository, repo_type=repo_type).sha
    there = api.list_repo_files(repository, repo_type=repo_type, revision=head)
    if sign not in there and set(there) - CREATED_WITH:
        raise HubError(f"the name is taken: what is there has no {sign}, so it is something else")
    stale = filter_repo_objects((file for file in there if file not in files), allow_patterns=list(ours))
    operations = [CommitOperationAdd(file, content) for file, content in files.items()]
    operations += [CommitOperationDelete(file) for file in stale]
    try:
        return api.create_commit(
            repository, operations, commit_message=message, repo_type=repo_type, parent_commit=head
        )
    except FAULTS as error:
        with suppress(*FAULTS):
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            if not refused and api.repo_info(repository, repo_type=repo_type).sha != head:
                why = "but there is a new commit; if it is yours, the same command again does the rest"
                raise HubError(f"{reason(error)}, {why}") from error
        raise
