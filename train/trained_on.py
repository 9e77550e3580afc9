"""What a checkpoint was trained on, by the file in its directory: nothing may be measured on these pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fashion_model.checkpoint import CheckpointError

TRAINED_ON = "trained_on.txt"  # one id a line: the rows of the training split


def read_trained_on(checkpoint: Path) -> set[int]:
    """The ids. CheckpointError if the checkpoint has no such file."""
    path = checkpoint / TRAINED_ON
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} has no {TRAINED_ON}, so what it was trained on is not known")
    return set(map(int, path.read_text(encoding="utf-8").split()))


def write_trained_on(checkpoint: Path, ids: Iterable[int]) -> None:
    (checkpoint / TRAINED_ON).write_text("".join(f"{i}\n" for i in sorted(set(ids))), encoding="utf-8")


def without_pictures_of(rows: pd.DataFrame, table: pd.DataFrame, ids: set[int]) -> pd.DataFrame:
    """`rows` less those that show the picture of one of `ids`."""
    groups = set(table.loc[table["id"].isin(ids), "group"])
    return rows[~rows["group"].isin(groups)]
