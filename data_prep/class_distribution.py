"""Draw the number of products of each class, one bar chart for each column of the cleaned table.

python -m data_prep class-distribution --data data/ [--output data/figures/] [--columns baseColour usage …]
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from data_prep import TABLE
from data_prep.__main__ import main
from data_prep.tables import SourceError, read_cleaned, shortened

INCHES_PER_BAR = 0.2


@dataclass(frozen=True)
class Config:
    data: Path = Path("data")
    """The data folder."""
    output: Path | None = None
    """The folder of the charts; by default figures/ in the data folder."""
    columns: tuple[str, ...] = ("baseColour", "articleType", "season", "gender", "usage")
    """The columns to draw; those without any label are left out."""


def run(config: Config) -> None:
    table, output = read_cleaned(config.data / TABLE), config.output or config.data / "figures"
    columns = [column for column in config.columns if column in table and table[column].any()]
    if not columns:
        raise SourceError(f"{config.data / TABLE} has none of the columns; it has {shortened(table.columns)}")
    output.mkdir(parents=True, exist_ok=True)
    for column in columns:
        counts = table.loc[table[column] != "", column].value_counts(ascending=True)
        figure = Figure(figsize=(8, 1 + INCHES_PER_BAR * len(counts)), layout="constrained")
        axes = counts.plot.barh(ax=figure.subplots(), logx=True, fontsize=8, xlabel="products", ylabel="")
        axes.set_title(f"{column}: {len(counts)} classes, {counts.sum():,} products")
        path = output / f"{re.sub(r'[^A-Za-z0-9]+', '_', column)}.png"
        figure.savefig(path, dpi=120)
        print(path)


if __name__ == "__main__":
    sys.exit(main(["class-distribution", *sys.argv[1:]]))
