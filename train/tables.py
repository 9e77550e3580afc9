"""The figures of metrics.json as Markdown, as `evaluate` prints them and the README shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashion_model.attributes import ATTRIBUTES

FIGURES = {
    "accuracy": "accuracy %",
    "top5_accuracy": "top-5 %",
    "balanced_accuracy": "balanced accuracy %",
    "macro_f1": "macro F1",
    "cross_entropy": "cross-entropy",
    "calibration_error": "calibration error %",
}
COPIES = {
    "thumbnail": "the catalogue's thumbnail",
    "shrunk": "shrunk to 60×80",
    "jpeg30": "JPEG quality 30",
    "all": "all of them",
}
DISTURBANCES = {
    "rotated": "rotated by 7°",
    "cropped": "a tenth cropped away",
    "darker": "a quarter darker",
    "warmer": "white balance too warm",
    "on_color": "on a plain color",
    "on_clutter": "before a cluttered background",
}


def markdown(metrics: Mapping[str, Any]) -> str:
    """All tables that `metrics` has figures for."""
    parts = [figures_table(metrics, f"{metrics['split']} split, the catalogue's thumbnails")]
    sharp = metrics.get("sharp")
    if sharp:
        parts.append(figures_table(sharp, f"{metrics['split']} split, sharp photographs"))
        agreement = {title: sharp["agreement"][copy] for copy, title in COPIES.items()}
        parts.append(shares_table("same answer as to the sharp photograph, %", agreement))
        disturbed = {
            f"{title} ({sharp['disturbances'][name]['rows']:,})": sharp["disturbances"][name]
            for name, title in DISTURBANCES.items()
            if sharp["disturbances"][name]["rows"]
        }
        parts.append(shares_table("accuracy on sharp photographs (how many), %", disturbed))
    if metrics["rows_left_out_as_trained_on"]:
        parts.append(f"Left out, as their pictures were trained on: {metrics['rows_left_out_as_trained_on']} rows.")
    return "\n\n".join(parts)


def figures_table(measured: Mapping[str, Any], title: str) -> str:
    """One row an attribute; 95 % intervals in brackets behind the accuracies."""
    lines = ["| | " + " | ".join(FIGURES.values()) + " |", "| --- |" + " ---: |" * len(FIGURES)]
    for attribute in ATTRIBUTES:
        figures = measured["attributes"][attribute.name]
        cells = [_cell(figures, name) for name in FIGURES]
        lines.append(f"| {attribute.title} | " + " | ".join(cells) + " |")
    lines.append(
        f"\n{title}: {measured['rows']:,} photographs; "
        f"the four cross-entropies together {measured['cross_entropy_sum']:.3f}; in brackets 95 % intervals"
    )
    return "\n".join(lines)


def shares_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """`rows`: what the row is about → attribute → share."""
    lines = [f"| {title} | " + " | ".join(a.title for a in ATTRIBUTES) + " |", "| --- |" + " ---: |" * len(ATTRIBUTES)]
    lines += [
        f"| {row} | " + " | ".join(f"{100 * s[a.name]:.1f}" for a in ATTRIBUTES) + " |" for row, s in rows.items()
    ]
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    percent = "%" in FIGURES[name]

    def text(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.3f}"

    low, high = figures["intervals"][name]
    return f"{text(figures[name])} ({text(low)}–{text(high)})"
