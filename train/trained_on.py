"""Which of the catalogue's products a checkpoint was trained on, by the file in its directory: nothing may be measured
on their pictures. The other kinds of picture are split by data_prep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fashion_model.checkpoint import CheckpointError

TRAINED_ON = "trained_on.txt"  # one id a line, of all networks that went into the checkpoint


def read_trained_on(checkpoint: Path) -> set[int]:
    """The ids. CheckpointError if there is no such directory, it has no such file or that holds something else."""
    path = checkpoint / TRAINED_ON
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint} is not a directory")
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} has no {TRAINED_ON}, so what it was trained on is not known")
    try:
        return set(map(int, path.read_text(encoding="utf-8").split()))
    except ValueError as error:
        raise CheckpointError(f"{path} does not hold one id a line: {error}") from error


def write_trained_on(checkpoint: Path, ids: Iterable[int]) -> None:
    """Before the weights, so that these never lie there without it; the directory is made if need be."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / TRAINED_ON).write_text("".join(f"{i}\n" for i in sorted(set(ids))), encoding="utf-8")


def without_pictures_of(rows: pd.DataFrame, table: pd.DataFrame, ids: set[int]) -> pd.DataFrame:
    """`rows` less those that show the picture of one of `ids`."""
    groups = set(table.loc[table["id"].isin(ids), "group"])
    return rows[~rows["group"].isin(groups)]
