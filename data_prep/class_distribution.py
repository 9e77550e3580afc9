"""Draw the number of products of each class, one bar chart per column of the cleaned table.

    python -m data_prep.class_distribution [--data data/] [--output data/figures/] [--columns baseColour usage …]

Without `--columns`, draws baseColour, articleType, season and gender, and usage if the table has it. Writes COLUMN.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from data_prep import TABLE
from data_prep.clean_data import LABEL_COLUMNS, OPTIONAL_COLUMNS
from fashion_model.console import exit_with

BARS_PER_COLUMN = 50  # more classes are drawn in several columns of axes
INCHES_PER_BAR, INCHES_PER_COLUMN = 0.2, 5.5


def draw(table: pd.DataFrame, column: str) -> Figure:
    """Horizontal bars with counts on a logarithmic axis, the most frequent class first.

    Empty cells are no class and are not counted. ValueError if all cells are empty.
    """
    labels = table.loc[table[column] != "", column]
    if labels.empty:
        raise ValueError(f"the column {column!r} is empty")
    counts = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    columns = -(-len(counts) // BARS_PER_COLUMN)
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(INCHES_PER_COLUMN * columns, INCHES_PER_BAR * rows + 1.2), layout="constrained")
    figure.suptitle(f"{column}: {len(counts)} classes, {len(labels):,} products")
    for i, axes in enumerate(figure.subplots(1, columns, squeeze=False, sharex=True)[0]):
        part = counts.iloc[i * rows : (i + 1) * rows]
        bars = axes.barh(range(len(part)), part, color="#4c72b0")
        axes.bar_label(bars, labels=[f"{count:,}" for count in part], padding=2, fontsize=8)
        axes.set_yticks(range(len(part)), part.index, fontsize=8)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(0.7, counts.iloc[0] * 3)
        axes.set_xlabel("products (logarithmic)")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def default_columns(table: pd.DataFrame) -> list[str]:
    """The label columns, and those of the optional columns that have at least one value."""
    return [*LABEL_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in table and table[column].any())]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.class_distribution", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder that clean_data wrote; data/")
    parser.add_argument("--output", type=Path, help="folder for the charts; DATA/figures")
    parser.add_argument("--columns", nargs="+", help="columns to draw; the four label columns, and usage if present")
    options = parser.parse_args(arguments)
    path = options.data / TABLE
    if not path.is_file():
        print(f"class_distribution: {path} is missing; data_prep.clean_data writes it", file=sys.stderr)
        return 2
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = options.columns or default_columns(table)
    missing = set(columns) - set(table)
    if missing:
        print(f"class_distribution: {path} has no columns {sorted(missing)}", file=sys.stderr)
        return 2
    output = options.output or options.data / "figures"
    output.mkdir(parents=True, exist_ok=True)
    for column in columns:
        try:
            figure = draw(table, column)
        except ValueError as error:
            print(f"class_distribution: {path}: {error}", file=sys.stderr)
            return 2
        figure.savefig(output / f"{column}.png", dpi=120)
        print(output / f"{column}.png")
    return 0


if __name__ == "__main__":
    exit_with(main)
