"""The commands `push-to-hub` and `push-space`: one commit each.

It deletes no file of others, except where a checkpoint would be loaded from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, constants
from huggingface_hub.errors import LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects

from data_prep.splits import TEST
from fashion_model.checkpoint import (
    CARD,
    CHECKPOINT_FILES,
    ENCODERS,
    LOADED_FILES,
    METRICS,
    CheckpointError,
    read_checkpoint,
)
from fashion_model.hub import DEFAULT_TIMEOUT, FAULTS, HubError, reason, use_client
from train.evaluate.card import model_card
from train.evaluate.split_metrics import read_metrics

ROOT = Path(__file__).parents[2]
VARIABLE = "FASHION_MODEL"
RECORD = "pushed-by-fashion-model.txt"  # in a repository: the files of the last push, one a line
PACKAGE, DEFAULT = "fashion_model", "fashion_model/default_checkpoint"
PACKAGE_FILES = ("*.py", "README.md", "py.typed", "app/static/*", "examples/*.jpg")
CREATED_WITH = {".gitattributes", "README.md"}  # files of a repository created on the website


@dataclass(frozen=True)
class CheckpointConfig:
    checkpoint: Path  # the checkpoint directory, evaluated
    repo: str  # the Hub repository, user/name; created if it does not exist
    private: bool = False  # create a private repository
    tag: str | None = None  # a name for this commit, like v1
    space: str | None = None  # user/name of a Space to deploy too
    timeout: float = DEFAULT_TIMEOUT  # seconds a request may stall; most are repeated up to five times


@dataclass(frozen=True)
class SpaceConfig:
    space: str  # user/name; created if it does not exist
    model: str  # the checkpoint to serve, user/name or user/name@revision
    private: bool = False  # create a private Space
    timeout: float = DEFAULT_TIMEOUT  # seconds a request may stall; most are repeated up to five times


def push_checkpoint(config: CheckpointConfig) -> None:
    """Push a checkpoint to the Hugging Face Hub in one commit, and optionally deploy a Space that serves it.

    Loads the checkpoint strictly, writes the model card from metrics.json, uploads, tags, and prints the commit. The
    token, with write access, is that of `hf auth login` or HF_TOKEN.
    """
    read_checkpoint(config.checkpoint, str(config.checkpoint))
    metrics = read_metrics(config.checkpoint).get(TEST, {})
    if "domains" not in metrics:  # not measured, or by an older version
        raise CheckpointError(f"{config.checkpoint / METRICS} has no metrics of the test split; run train evaluate")
    card = model_card(config.checkpoint, metrics, config.repo, config.space)
    files = {**files_in(config.checkpoint, CHECKPOINT_FILES), CARD: card.encode()}
    with clear_errors(config.repo):
        api = connect(config.timeout)
        create(api, config.repo, config.private)
        if config.tag and any(known.name == config.tag for known in api.list_repo_refs(config.repo).tags):
            raise HubError(f"the tag {config.tag} exists already")
        done = commit(api, config.repo, files, sign=ENCODERS, message="Upload checkpoint")
        print(f"{done.commit_url}\n{done.oid}")
        if config.tag:
            api.create_tag(config.repo, tag=config.tag, revision=done.oid)
            print(f"tagged {config.tag}")
    if config.space:
        push_space(SpaceConfig(config.space, f"{config.repo}@{done.oid}", config.private, config.timeout))


def push_space(config: SpaceConfig) -> None:
    """Create or update the Gradio Space from this repository's files, in one commit.

    The Space serves the commit that the model's branch, tag or sha points to now, pinned in its variable FASHION_MODEL.
    """
    model, _, revision = config.model.partition("@")
    files = files_of_space(model)
    with clear_errors(model):
        api = connect(config.timeout)
        served = api.model_info(model, revision=revision or None)
        if not api.file_exists(model, ENCODERS, revision=served.sha):
            raise HubError(f"it holds no {ENCODERS}, so it is no checkpoint of this project")
    pinned = f"{model}@{served.sha}"
    with clear_errors(config.space):
        create(api, config.space, config.private, repo_type="space", space_sdk="gradio")
        sign, message = f"{PACKAGE}/__init__.py", f"Serve {pinned}"
        done = commit(api, config.space, files, sign=sign, message=message, repo_type="space")
        print(done.commit_url)
        api.add_space_variable(config.space, VARIABLE, pinned)
    print(f"https://huggingface.co/spaces/{config.space} serves {pinned}")
    if served.private or served.gated:
        print(
            f"{model} is not public: the Space needs a secret HF_TOKEN that may read it, or the embedded default serves"
        )


def files_of_space(model: str) -> dict[str, Path | bytes]:
    """Path in the Space → content: the app, the package with the embedded default, and the README.

    HubError if this is an installed package and not a checkout.
    """
    others = {name: ROOT / name for name in ("app.py", "requirements.txt", "LICENSE")}
    others |= {path.relative_to(ROOT).as_posix(): path for path in (ROOT / ".github").glob("screenshot*.png")}
    if missing := [name for name, path in others.items() if not path.is_file()]:
        raise HubError(f"{ROOT} has no {missing[0]}, so the Space could not start")
    card = RepoCard.load(ROOT / "README.md", ignore_metadata_errors=False)
    card.data.models = [model]
    package = {f"{PACKAGE}/{name}": path for name, path in files_in(ROOT / PACKAGE, PACKAGE_FILES).items()}
    default = {f"{DEFAULT}/{name}": path for name, path in files_in(ROOT / DEFAULT, CHECKPOINT_FILES).items()}
    return {**package, **default, **others, "README.md": str(card).encode()}


def files_in(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Path relative to `folder` → path of the files that match one of `patterns`."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: folder / name for name in filter_repo_objects(names, allow_patterns=list(patterns))}


@contextmanager
def clear_errors(repository: str) -> Iterator[None]:
    """Errors of the Hub and of the network become a HubError that names the repository."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("there is no token: `hf auth login` stores one, or set HF_TOKEN") from error
    except (HubError, *FAULTS) as error:
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
    sign: str,
    message: str,
    repo_type: str = "model",
) -> CommitInfo:
    """Write `files` (path in the repository → content) in one commit, with a record of their names.

    Files that the record of the commit before names, and those that a checkpoint is loaded from, are deleted in the
    same commit if they are not among `files`; others stay. HubError if the repository lacks `sign`, a file that all of
    this kind have, and is not new.
    """
    head = api.repo_info(repository, repo_type=repo_type).sha
    there = api.list_repo_files(repository, repo_type=repo_type, revision=head)
    if sign not in there and set(there) - CREATED_WITH:
        raise HubError(f"the name is taken: what is there has no {sign}, so it is something else")
    below = f"{DEFAULT}/" if repo_type == "space" else ""
    stale = set(filter_repo_objects(there, allow_patterns=[f"{below}{pattern}" for pattern in LOADED_FILES]))
    if RECORD in there:
        record = api.hf_hub_download(repository, RECORD, repo_type=repo_type, revision=head)
        stale.update(set(Path(record).read_text(encoding="utf-8").split("\n")).intersection(there))
    stale.difference_update(files)
    files = {**files, RECORD: "".join(f"{name}\n" for name in sorted(files)).encode()}
    operations = [CommitOperationAdd(file, content) for file, content in files.items()]
    operations += [CommitOperationDelete(file) for file in sorted(stale)]
    return api.create_commit(repository, operations, commit_message=message, repo_type=repo_type, parent_commit=head)
