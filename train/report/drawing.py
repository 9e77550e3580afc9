"""Confusion matrices: correct predictions in blue, confusions in red, darker for larger shares."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from train.report.confusion import Confusion

CELL = 0.125  # inches of an overview
ZOOM_CELL = 0.42
ZOOM_COLUMNS = 2
SHARES = PowerNorm(0.5, 0, 1)  # a square root, so that a confusion of 2 % can be seen
SHOWN = 0.005  # what rounds to 1 %
LONGEST = 32  # letters of a name
LETTERS = "ABCDEF"


def png(figure: Figure, dpi: int = 110) -> bytes:
    """PNG with a palette of 256 colors, a third of the size."""
    drawn, compressed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=dpi, bbox_inches="tight")
    # Median cut would turn pale blue gray.
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(compressed, "PNG", optimize=True)
    return compressed.getvalue()


def overview(title: str, confusion: Confusion) -> Figure:
    """All classes, confused ones side by side; the blocks of `zooms` are framed."""
    count = len(confusion.labels)
    side = CELL * count + 3.2
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shown = _matrix(axes, confusion.rates)
    _name(axes, list(confusion.labels), list(confusion.labels), size=7)
    axes.tick_params(right=True, labelright=True, bottom=True, labelbottom=True)
    for letter, block in zip(LETTERS, confusion.blocks, strict=False):
        _frame(axes, letter, block)
    axes.set_title(f"{title}: share of the label's photographs, the label at the left, the answer above", loc="left")
    figure.colorbar(shown, ax=axes, label="confused", shrink=0.4, aspect=40, ticks=[0, 0.02, 0.1, 0.25, 0.5, 1])
    return figure


def zooms(title: str, confusion: Confusion) -> Figure:
    """The blocks with the most confusion, with percentages; `elsewhere`: predictions outside of the block."""
    blocks = confusion.blocks
    columns = min(ZOOM_COLUMNS, len(blocks))
    lines = -(-len(blocks) // columns)
    classes = max(block.stop - block.start for block in blocks)
    side = ZOOM_CELL * (classes + 1) + 2.6
    figure = Figure(figsize=(side * columns, side * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes in panels[len(blocks) :]:
        axes.set_axis_off()
    for i, block in enumerate(blocks):
        _zoom(panels[i], confusion, block)
        panels[i].set_title(title if len(confusion.labels) <= classes else f"{title}, block {LETTERS[i]}", loc="left")
    return figure


def _zoom(axes: Axes, confusion: Confusion, block: slice) -> None:
    rates = confusion.rates[block, block]
    size = len(rates)
    elsewhere = 1 - rates.sum(axis=1, keepdims=True)
    columns = list(confusion.labels[block])
    _matrix(axes, rates)
    if elsewhere.max() >= SHOWN:
        rates = np.hstack([rates, elsewhere])
        columns.append("elsewhere")
        axes.set_xlim(-0.5, size + 0.5)
    named = [f"{label} ({n:,})" for label, n in zip(columns, confusion.support[block], strict=False)]
    _name(axes, named, columns, size=9)
    for (row, column), share in np.ndenumerate(rates):
        if share >= SHOWN:
            color = "white" if column < size and SHARES(share) > 0.55 else "#333"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9, color=color)


def _matrix(axes: Axes, rates: np.ndarray) -> AxesImage:
    """Draws rates (n, n) and returns the red part."""
    diagonal = np.eye(len(rates), dtype=bool)
    confused = axes.imshow(np.ma.masked_where(diagonal, rates), cmap="Reds", norm=SHARES)
    axes.imshow(np.ma.masked_where(~diagonal, rates), cmap="Blues", norm=SHARES)
    return confused


def _name(axes: Axes, rows: list[str], columns: list[str], size: float) -> None:
    axes.set_yticks(range(len(rows)), map(_short, rows), fontsize=size)
    axes.set_xticks(range(len(columns)), map(_short, columns), rotation=90, fontsize=size)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=2)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.4)
    axes.tick_params(which="minor", length=0)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)  # labels are not formulas


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _frame(axes: Axes, letter: str, block: slice) -> None:
    start, size = block.start - 0.5, block.stop - block.start
    axes.add_patch(Rectangle((start, start), size, size, fill=False, edgecolor="black", linewidth=1))
    at_the_end = block.stop > axes.get_xlim()[1] - 1  # where the row names are
    place, side = (start - 0.3, "right") if at_the_end else (start + size + 0.3, "left")
    axes.text(place, start + 0.2, letter, fontsize=10, fontweight="bold", va="top", ha=side)
