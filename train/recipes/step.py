"""A step of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.recipes.command import Config


@dataclass(frozen=True)
class Step:
    command: tuple[str, ...]  # after `python -m train`
    minutes: int  # on two cores
    done: Path | None = None  # exists if the step is finished


def shared_options(config: Config) -> list[str]:
    """Of every command that reads data."""
    return ["--data", str(config.data), "--workers", str(config.workers)]
