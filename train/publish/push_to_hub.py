"""Push a checkpoint to the Hugging Face Hub in one commit, and optionally deploy a Space that serves it.

Loads the checkpoint strictly, writes the model card from metrics.json, uploads, tags, and prints the commit. The token,
with write access, is that of `hf auth login` or HF_TOKEN.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.splits import TEST
from fashion_model.checkpoint import (
    CLASSES,
    CONFIG,
    ENCODERS,
    METRICS,
    REPORT,
    WEIGHT_FILES,
    CheckpointError,
    read_checkpoint,
)
from fashion_model.hub import DEFAULT_TIMEOUT, HubError
from train.data.table import TRAINED_ON
from train.evaluate.card import CARD, model_card
from train.evaluate.split_metrics import SplitMetrics, read_metrics
from train.publish.hub_commit import clear_errors, commit, connect, create
from train.publish.push_space import push_space

OURS = (
    CONFIG,
    ENCODERS,
    METRICS,
    *WEIGHT_FILES,
    TRAINED_ON,
    "figures/*.png",
    REPORT,
    CLASSES,
    "report/*.csv",
)


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory, evaluated
    repo: str  # the Hub repository, user/name; created if it does not exist
    private: bool = False  # create a private repository
    tag: str | None = None  # a name for this commit, like v1
    space: str | None = None  # user/name of a Space to deploy too
    timeout: float = DEFAULT_TIMEOUT  # seconds a request may stall; most are repeated up to five times
    dry_run: bool = False  # print what would be pushed, without network


def run(config: Config) -> None:
    files = files_of(config.checkpoint, config.repo, config.space)
    if config.dry_run:
        for name, content in files.items():
            print(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {name}")
        print(files[CARD].decode())
        return
    sha = push_to_hub(config.repo, files, config.private, config.tag, config.timeout)
    if config.space:
        push_space(config.space, config.repo, sha, config.private, config.timeout)


def files_of(checkpoint: Path, repository: str, space: str | None = None) -> dict[str, Path | bytes]:
    """Path in the repository → content. CheckpointError if the checkpoint is invalid or not evaluated."""
    config = read_checkpoint(checkpoint, str(checkpoint)).config
    metrics = metrics_of_test_split(checkpoint)
    found = sorted({path for pattern in OURS for path in checkpoint.glob(pattern)})
    files: dict[str, Path | bytes] = {path.relative_to(checkpoint).as_posix(): path for path in found}
    return files | {CARD: model_card(config, metrics, repository, space).encode()}


def metrics_of_test_split(checkpoint: Path) -> SplitMetrics:
    """CheckpointError if they are missing or belong to another checkpoint."""
    metrics = read_metrics(checkpoint)
    if TEST not in metrics.splits:
        raise CheckpointError(f"{checkpoint / METRICS} has no metrics of the test split; run train evaluate")
    return metrics.splits[TEST]


def push_to_hub(
    repository: str,
    files: dict[str, Path | bytes],
    private: bool = False,
    tag: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> str:
    """Create the repository if needed, commit `files`, tag the commit; returns its sha. HubError on failure."""
    with clear_errors(repository):
        api = connect(timeout)
        create(api, repository, private)
        if tag and any(known.name == tag for known in api.list_repo_refs(repository).tags):
            raise HubError(f"the tag {tag} exists already")
        done = commit(api, repository, files, ours=OURS, sign=ENCODERS, message="Upload checkpoint")
        print(f"{done.commit_url}\n{done.oid}")
    if tag:
        with clear_errors(f"{repository} is committed, but not tagged"):
            api.create_tag(repository, tag=tag, revision=done.oid)
        print(f"tagged {tag}")
    return done.oid
