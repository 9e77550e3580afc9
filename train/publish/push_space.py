"""Create or update the Gradio Space from this repository's files, in one commit.

The Space serves the commit that the model's branch, tag or sha points to now, pinned in its variable FASHION_MODEL.
"""

from __future__ import annotations

from dataclasses import dataclass

from fashion_model.hub import DEFAULT_TIMEOUT
from train.publish.commits import push_space


@dataclass(frozen=True)
class Config:
    space: str  # user/name; created if it does not exist
    model: str  # the checkpoint to serve, user/name or user/name@revision
    private: bool = False  # create a private Space
    timeout: float = DEFAULT_TIMEOUT  # seconds a request may stall; most are repeated up to five times


def run(config: Config) -> None:
    model, _, revision = config.model.partition("@")
    push_space(config.space, model, revision or None, config.private, config.timeout)
