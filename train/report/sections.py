"""The sections of the report, from the findings to the blocks of the document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from train.evaluate.predictions import SplitPredictions
from train.evaluate.split_metrics import SplitMetrics
from train.evaluate.tables import (
    METRICS,
    catalogue_note,
    catalogue_rows,
    photograph_columns,
    photograph_note,
    photograph_rows,
)
from train.report.confusion import BLOCK
from train.report.document import Block, Photos, Picture, Section, Table, Text
from train.report.drawing import overview, png, zooms
from train.report.findings import Findings
from train.report.photos import Photo
from train.report.slices import ALL, MIN_IMAGES, weakest

FREQUENT, EXAMPLES = 20, 6  # confusions shown, images of each
LINES, LINE_LENGTH = 6, 10  # of likely label errors
OVERVIEW = (
    "",
    "most frequent confusion",
    f"weakest slice of at least {MIN_IMAGES} images, accuracy %",
    "likely label errors",
)
SLICES = (
    "Accuracy in %, in brackets its 95 % interval (Wilson), which is wide for small slices. ▼ and ▲: the interval lies "
    "below or above the accuracy on all thumbnails; one slice in twenty does by chance."
)
MATRIX = (
    "Rows are labels, columns predictions; the color is the share of the label's images, blue for correct predictions, "
    "red for confusions, on a square-root scale. Confused classes are side by side."
)
ZOOMS = f"The framed blocks, of at most {BLOCK} classes each, in %; in brackets the number of images with the label."
RELIABILITY = (
    "Accuracy over confidence; calibrated confidences lie on the gray line. Before and after: without and with the "
    "checkpoint's temperature."
)
LABEL_ERRORS = (
    "Candidates to look at, not proofs: the prediction differs from the label, and its probability reaches the mean of "
    "that class on images labeled so (confident learning, Northcutt, Jiang and Chuang, JAIR 2021). For attributes that "
    "a picture does not show, they say more about the network than about the labels. `train report` writes the CSV "
    "files named here beside the page."
)

Photographer = Callable[[int], Image.Image]  # index of a row in the cleaned table → its image


def summary(
    predictions: SplitPredictions, metrics: SplitMetrics, slices: pd.DataFrame, findings: Sequence[Findings]
) -> Section:
    attributes, split = predictions.attributes, predictions.split
    if metrics.trained_on_known:
        text = f"None of the images was trained on; {metrics.rows_left_out:,} rows are left out because they were."
    else:
        text = "It is not known whether the checkpoint was trained on some of the images."
    blocks: list[Block] = []
    if rows := photograph_rows(attributes, metrics):
        blocks += [Table(photograph_columns(attributes, metrics), rows), Text(photograph_note(metrics))]
    return Section(
        "Summary",
        [
            *blocks,
            Text(text),
            Table(("", *METRICS.values()), catalogue_rows(attributes, metrics.thumbnails)),
            Text(catalogue_note(metrics.thumbnails, f"{split} split, catalogue thumbnails")),
            Table(OVERVIEW, [_overview(found, slices) for found in findings], words=3),
        ],
    )


def _overview(found: Findings, slices: pd.DataFrame) -> tuple[str, ...]:
    name, weak = found.attribute.name, weakest(slices, found.attribute.name)
    confused = next((f"{c.label} → {c.answer}: {c.count}" for c in _frequent(found)), "none")
    described = "" if weak is None else f"{weak['slice']} ({weak['kind']}): {_share(weak, name)} of {weak['images']:,}"
    return found.attribute.title, confused, described, f"{len(found.label_errors):,}"


def by_slice(slices: pd.DataFrame, findings: Sequence[Findings]) -> Section:
    everything = slices[slices["kind"] == ALL].iloc[0]
    attributes = [found.attribute for found in findings]
    blocks: list[Block] = [Text(SLICES)]
    for kind, part in slices.groupby("kind", sort=False):
        rows = [
            (s["slice"], f"{s['images']:,}", *(_marked(s, a.name, everything) for a in attributes))
            for _, s in part.iterrows()
        ]
        blocks.append(Table((str(kind), "images", *(a.title for a in attributes)), rows))
    return Section("Accuracy by slice", blocks)


def _share(part: pd.Series, attribute: str) -> str:
    if not part[f"{attribute}_count"]:
        return ""
    accuracy, low, high = (100 * part[f"{attribute}_{what}"] for what in ("accuracy", "low", "high"))
    return f"{accuracy:.1f} ({low:.1f}–{high:.1f})"


def _marked(part: pd.Series, attribute: str, everything: pd.Series) -> str:
    usual = everything[f"{attribute}_accuracy"]
    below, above = part[f"{attribute}_high"] < usual, part[f"{attribute}_low"] > usual
    return f"{'▼ ' if below else '▲ ' if above else ''}{_share(part, attribute)}"


def of_attribute(found: Findings, reliability: bytes, photographer: Photographer) -> Section:
    """`reliability`: the diagram as PNG."""
    title = found.attribute.title
    return Section(
        title,
        [
            Section("Confusion matrix", _matrix(found)),
            Section("Most frequent confusions", _confusions(found, photographer)),
            Section(
                "Calibration",
                [Text(RELIABILITY), Picture(f"{title}: reliability diagram", reliability)],
            ),
            Section("Likely label errors", _label_errors(found, photographer)),
            Section("All classes", [_classes(found)]),
        ],
    )


def _matrix(found: Findings) -> list[Block]:
    title, confusion = found.attribute.title, found.confusion
    unused = len(set(found.answers.labels) - set(confusion.labels))
    answered = int(confusion.support.sum() - confusion.counts.sum())
    blocks: list[Block] = [Text(MATRIX)]
    if unused:
        text = f"Without {unused} classes that no image here is labeled with; they are predicted {answered:,} times."
        blocks.append(Text(text))
    if len(confusion.labels) > BLOCK:
        blocks += [Picture(f"{title}: confusion matrix", png(overview(title, confusion))), Text(ZOOMS)]
    if confusion.blocks:
        blocks.append(Picture(f"{title}: confusion matrix, enlarged", png(zooms(title, confusion))))
    return blocks


def _frequent(found: Findings) -> list[Any]:
    return list(found.confusions.head(FREQUENT).itertuples())


def _confusions(found: Findings, photographer: Photographer) -> list[Block]:
    frequent = _frequent(found)
    if not frequent:
        return [Text("None: every prediction is right.")]
    rows, lines = [], []
    for c in frequent:
        rows.append((c.label, c.answer, f"{c.count:,}", f"{100 * c.share:.1f}"))
        lines.append([_example(example, photographer) for example in examples(found.answers.rows, c.label, c.answer)])
    text = f"The share is of all images with the label. Up to {EXAMPLES} examples, from high to low confidence."
    return [Text(text), Table(("label", "prediction", "images", "share %"), rows, words=2, photos=lines)]


def examples(rows: pd.DataFrame, label: str, answer: str) -> list[Any]:
    """Up to `EXAMPLES` rows with this label and answer, spread evenly from high to low confidence."""
    pair = rows[(rows["label"] == label) & (rows["answer"] == answer)].sort_values("confidence", ascending=False)
    places = np.linspace(0, len(pair) - 1, min(EXAMPLES, len(pair))).round().astype(int)
    return list(pair.iloc[places].itertuples())


def _example(row: Any, photographer: Photographer) -> Photo:
    return Photo.of(photographer(row.Index), f"{row.id}: {100 * row.confidence:.0f} %")


def _label_errors(found: Findings, photographer: Photographer) -> list[Block]:
    shown = found.label_errors.head(LINES * LINE_LENGTH)
    blocks: list[Block] = [Text(LABEL_ERRORS), Text(f"{_how_many(found)} {_same_picture(found)}")]
    photos = [
        Photo.of(photographer(s.Index), f"{s.id}", f"{s.label}", f"→ {s.answer}", f"{100 * s.confidence:.1f} %")
        for s in shown.itertuples()
    ]
    if photos:
        blocks.append(Photos([photos[i : i + LINE_LENGTH] for i in range(0, len(photos), LINE_LENGTH)]))
    return blocks


def _how_many(found: Findings) -> str:
    suspects, rows = len(found.label_errors), len(found.answers.rows)
    shown = min(suspects, LINES * LINE_LENGTH)
    return (
        f"{suspects:,} of {rows:,} labels ({100 * suspects / rows:.1f} %), all of them in "
        f"label_errors_{found.attribute.name}.csv; the {shown} most likely below: id, label → prediction, confidence."
    )


def _same_picture(found: Findings) -> str:
    apart, several = found.contradictions["picture"].nunique(), found.pictures_with_several_ids
    return (
        f"In the whole table {several:,} pictures have several ids; {apart:,} of them have different "
        f"labels (same_picture_{found.attribute.name}.csv)."
    )


def _classes(found: Findings) -> Table:
    columns = ("class", "precision %", "recall %", "F1", "images", "predictions", "training images")
    rows = [
        (
            c.label,
            _percent(c.precision),
            _percent(c.recall),
            "" if np.isnan(c.f1) else f"{c.f1:.3f}",
            *(f"{count:,}" for count in (c.support, c.answered, c.training_rows)),
        )
        for c in found.classes.itertuples()
    ]
    return Table(columns, rows, summary=f"{len(rows)} classes, most frequent first")


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"
