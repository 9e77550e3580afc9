"""What the project set out to reach on the test split, and how far a checkpoint is from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fashion_model.attributes import ATTRIBUTES, NAMES
from train.tables import markdown_table

CROSS_ENTROPIES = 2.15  # at most, the four on thumbnails together


@dataclass(frozen=True)
class Goal:
    title: str
    wanted: Mapping[str, float]  # attribute → value
    places: Mapping[str, str]  # attribute → where the figure is in metrics.json, keys with dots between
    percent: bool = True
    at_most: bool = False

    def cell(self, metrics: Mapping[str, Any], attribute: str) -> str:
        """Measured, wanted, and what is missing, as rounded."""
        found: Any = metrics
        for key in self.places[attribute].split("."):
            found = found[key]
        factor, digits = (100, 1) if self.percent else (1, 3)
        return compared(factor * found, self.wanted[attribute], digits, self.at_most)


def compared(measured: float, wanted: float, digits: int, at_most: bool) -> str:
    rounded = round(measured, digits)
    short = rounded - wanted if at_most else wanted - rounded
    missing = f"; {short:.{digits}f} short" if short > 0 else ""
    return f"{rounded:.{digits}f} ({'≤' if at_most else '≥'} {wanted}{missing})"


def _goal(title: str, wanted: tuple[float, ...], place: str, percent: bool = True, at_most: bool = False) -> Goal:
    """`place`: keys in metrics.json with dots between, {} for the attribute's."""
    places = {name: place.format(name) for name in NAMES}
    return Goal(title, dict(zip(NAMES, wanted, strict=True)), places, percent, at_most)


# In the order of the attributes: color, product type, season, gender.
ERRORS = (1.5, 1.5, 2.5, 1.5)
SHARP = _goal("sharp photographs, accuracy %, of season balanced", (75, 89, 52, 94), "sharp.attributes.{}.accuracy")
GOALS = (
    _goal("thumbnails, accuracy %", (73, 89.5, 70, 94), "attributes.{}.accuracy"),
    _goal("thumbnails, macro F1", (0.45, 0.70, 0.70, 0.85), "attributes.{}.macro_f1", percent=False),
    replace(SHARP, places=SHARP.places | {"season": "sharp.attributes.season.balanced_accuracy"}),
    _goal("sharp photograph and thumbnail agree, %", (95, 97, 93, 98), "sharp.agreement.thumbnail.{}"),
    _goal("thumbnails, calibration error %", ERRORS, "attributes.{}.calibration_error", at_most=True),
    _goal("sharp photographs, calibration error %", ERRORS, "sharp.attributes.{}.calibration_error", at_most=True),
)


def goals_table(metrics: Mapping[str, Any]) -> str:
    """Markdown; `metrics` has figures of sharp photographs."""
    rows = [(goal.title, *(goal.cell(metrics, a.name) for a in ATTRIBUTES)) for goal in GOALS]
    table = markdown_table(("measured (goal)", *(a.title for a in ATTRIBUTES)), rows)
    total = compared(metrics["cross_entropy_sum"], CROSS_ENTROPIES, digits=3, at_most=True)
    return (
        f"{table}\n\nThe four cross-entropies on thumbnails together: {total}. "
        "A calibration error below the column “by chance” above cannot be shown with so few photographs."
    )
