"""Push a checkpoint to the Hugging Face Hub in one commit, and optionally deploy a Space that serves it.

Loads the checkpoint strictly, writes the model card from metrics.json, uploads, tags, and prints the commit. The token,
with write access, is that of `hf auth login` or HF_TOKEN.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.splits import TEST
from fashion_model.checkpoint import CARD, CHECKPOINT_FILES, METRICS, CheckpointError, read_checkpoint
from fashion_model.hub import DEFAULT_TIMEOUT
from train.evaluate.card import model_card
from train.evaluate.split_metrics import read_metrics
from train.publish.commits import files_in, push_checkpoint, push_space


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
    files = {**files_in(config.checkpoint, CHECKPOINT_FILES), CARD: card_of(config).encode()}
    if config.dry_run:
        for name, content in files.items():
            print(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {name}")
        print(files[CARD].decode())
        return
    sha = push_checkpoint(config.repo, files, config.private, config.tag, config.timeout)
    if config.space:
        push_space(config.space, config.repo, sha, config.private, config.timeout)


def card_of(config: Config) -> str:
    """The model card. CheckpointError if the checkpoint is invalid, or not evaluated as it is."""
    read_checkpoint(config.checkpoint, str(config.checkpoint))
    metrics = read_metrics(config.checkpoint).get(TEST, {})
    if "domains" not in metrics:  # not measured, or by an older version
        raise CheckpointError(f"{config.checkpoint / METRICS} has no metrics of the test split; run train evaluate")
    return model_card(config.checkpoint, metrics, config.repo, config.space)
