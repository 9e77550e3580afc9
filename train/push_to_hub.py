"""Push a checkpoint to the Hugging Face Hub.

    python -m train push_to_hub --checkpoint runs/NAME --repo user/fashion-product-classifier [--tag v1] [--space …]

Loads the checkpoint strictly first, writes the model card from its metrics.json, uploads everything in one commit, tags
it and prints the commit. With `--space user/name` a Space that serves this commit is deployed too. The token is the one
of `hf auth login` or HF_TOKEN, with the right to write. `--dry-run` prints what would be pushed, without the network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.splits import TEST
from fashion_model.checkpoint import (
    CONFIG,
    ENCODERS,
    METRICS,
    WEIGHT_FILES,
    CheckpointError,
    read_checkpoint,
    read_json,
)
from fashion_model.hub import DEFAULT_TIMEOUT, HubError
from train.card import CARD, model_card
from train.evaluation import digest_of
from train.publish import add_timeout_argument, clear_errors, commit, connect, create
from train.push_space import push_space
from train.trained_on import TRAINED_ON

REPORTS = ("report/report.html", "report/report.md", "report/*.csv", "report/figures/*.png")
OURS = (CONFIG, ENCODERS, METRICS, *WEIGHT_FILES, TRAINED_ON, "figures/*.png", *REPORTS)


def files_of(checkpoint: Path, repository: str, space: str | None = None) -> dict[str, Path | bytes]:
    """Path in the repository → content. CheckpointError if the checkpoint is not fit to be shown to others."""
    config = read_checkpoint(checkpoint, str(checkpoint)).config
    metrics = _metrics_of(checkpoint)
    found = sorted({path for pattern in OURS for path in checkpoint.glob(pattern)})
    files: dict[str, Path | bytes] = {path.relative_to(checkpoint).as_posix(): path for path in found}
    try:
        card = model_card(config, metrics, repository, space)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint / METRICS} lacks {error}; run train evaluate") from error
    return files | {CARD: card.encode()}


def _metrics_of(checkpoint: Path) -> dict:
    try:
        metrics = read_json(checkpoint / METRICS)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint / METRICS} cannot be read: {error}; run train evaluate first") from error
    if metrics.get("split") != TEST:
        raise CheckpointError(f"{checkpoint / METRICS} does not hold the test split's figures; run train evaluate")
    if metrics.get("digest") != digest_of(checkpoint):
        raise CheckpointError(f"{checkpoint / METRICS} does not hold the figures of these weights; run train evaluate")
    return metrics


def push_to_hub(
    repository: str,
    files: dict[str, Path | bytes],
    private: bool = False,
    tag: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> str:
    """Create the repository if need be, commit `files`, tag the commit; returns its sha. HubError if that fails."""
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train push_to_hub", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory, evaluated")
    parser.add_argument("--repo", required=True, help="the Hub repository, user/name; created if need be")
    parser.add_argument("--private", action="store_true", help="for your own eyes")
    parser.add_argument("--tag", help="a name for this commit, like v1")
    parser.add_argument("--space", metavar="USER/NAME", help="also deploy a Space that serves it")
    add_timeout_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be pushed")
    options = parser.parse_args(arguments)
    try:
        files = files_of(options.checkpoint, options.repo, options.space)
        if options.dry_run:
            for name, content in files.items():
                print(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {name}")
            print(files[CARD].decode())
            return 0
        sha = push_to_hub(options.repo, files, options.private, options.tag, options.timeout)
        if options.space:
            push_space(options.space, options.repo, sha, options.private, options.timeout)
    except (CheckpointError, HubError) as error:
        print(f"push_to_hub: {error}", file=sys.stderr)
        return 2
    return 0
