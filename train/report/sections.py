"""What a report says, in which order: from the findings to the parts of the document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fashion_model.attributes import ATTRIBUTES
from train.report.confusion import BLOCK
from train.report.document import Block, Picture, Section, Sheet, Table, Text
from train.report.drawing import overview, png, zooms
from train.report.findings import Findings
from train.report.photos import Photo
from train.report.slices import ALL, ENOUGH, weakest
from train.tables import (
    FIGURES,
    VISITORS,
    figures_note,
    figures_rows,
    unlikely_pairs_line,
    visitors_note,
    visitors_rows,
)

FREQUENT, EXAMPLES = 20, 6  # confusions shown, photographs of each
SHEET_LINES, SHEET_PLACES = 6, 10  # of likely label errors
GLANCE = (
    "",
    "most frequent confusion",
    f"weakest slice of {ENOUGH} photographs or more, accuracy %",
    "likely label errors",
)
SLICES = (
    "Accuracy in %, in brackets its 95 % interval (Wilson): wide where a slice has few photographs. ▼ and ▲: the "
    "interval lies below or above the accuracy on all photographs; of many slices, one in twenty does by chance."
)
MATRIX = (
    "Each row is a label, each column an answer; the color is the share of the label's photographs, blue on the "
    "diagonal for right ones, red for confused ones, on a square-root scale. Classes that are taken for each other "
    "stand side by side."
)
ZOOMS = f"The framed blocks, of at most {BLOCK} classes each, in %; in brackets how many photographs have the label."
RELIABILITY = (
    "Accuracy over confidence; on the gray line a confidence can be taken at its word. Before and after: without and "
    "with the checkpoint's temperature."
)
SUSPICIONS = (
    "Candidates for a second look, not proofs: the answer differs from the label, and its probability reaches the mean "
    "of that class on photographs labelled so (confident learning, Northcutt, Jiang and Chuang, JAIR 2021). Where an "
    "attribute cannot be read off a picture, they say more of the network than of the labels. The CSV files named here "
    "are those that train report writes beside its page."
)

UNLIKELY = (
    f"The {FREQUENT} answered most often; among equals, the most expected first. All of them are in "
    "unlikely_pairs.csv, beside this page."
)

Photographer = Callable[[int], Image.Image]  # a row's index in the table → its photograph


def at_a_glance(metrics: Mapping[str, Any], slices: pd.DataFrame, findings: Sequence[Findings]) -> Section:
    photographs = f"{metrics['rows']:,} photographs of the {metrics['split']} split"
    if metrics["knows_trained_on"]:
        left_out = metrics["rows_left_out_as_trained_on"]
        text = f"{photographs}, none of them trained on; left out, as their pictures were: {left_out:,} rows."
    else:
        text = f"{photographs}. Whether the checkpoint was trained on some of them is not known."
    return Section(
        "At a glance",
        [
            *_of_visitors(metrics["visitors"]),
            Text(text),
            Table(("", *FIGURES.values()), figures_rows(metrics)),
            Text(figures_note(metrics, f"{metrics['split']} split, the catalogue's thumbnails")),
            Table(GLANCE, [_glance(found, slices) for found in findings], words=3),
        ],
    )


def _of_visitors(visitors: Mapping[str, Any]) -> list[Block]:
    """Nothing if the data folder has no such pictures."""
    if not visitors:
        return []
    return [Table(VISITORS, visitors_rows(visitors)), Text(visitors_note(visitors))]


def _glance(found: Findings, slices: pd.DataFrame) -> tuple[str, ...]:
    name, weak = found.attribute.name, weakest(slices, found.attribute.name)
    confused = next((f"{c.label} → {c.answer}: {c.count}" for c in _frequent(found)), "none")
    described = "" if weak is None else f"{weak['slice']} ({weak['kind']}): {_share(weak, name)} of {weak['rows']:,}"
    return found.attribute.title, confused, described, f"{len(found.label_errors):,}"


def by_slice(slices: pd.DataFrame) -> Section:
    everything = slices[slices["kind"] == ALL].iloc[0]
    blocks: list[Block] = [Text(SLICES)]
    for kind, part in slices.groupby("kind", sort=False):
        rows = [
            (s["slice"], f"{s['rows']:,}", *(_marked(s, a.name, everything) for a in ATTRIBUTES))
            for _, s in part.iterrows()
        ]
        blocks.append(Table((str(kind), "photographs", *(a.title for a in ATTRIBUTES)), rows))
    return Section("Accuracy by slice", blocks)


def unlikely_pairs(measured: Mapping[str, Mapping[str, Any]], pairs: pd.DataFrame) -> Section:
    """`measured`: kind of photograph → see `Combinations.figures`; `pairs`: see `pairs_table`."""
    blocks: list[Block] = [Text(unlikely_pairs_line(found, kind)) for kind, found in measured.items()]
    if len(pairs):
        rows = [
            (first, second, *(f"{count:,.0f}" for count in counts))
            for first, second, *counts in pairs.head(FREQUENT).itertuples(index=False)
        ]
        blocks += [Text(UNLIKELY), Table(tuple(pairs.columns), rows, words=2)]
    return Section("Unlikely pairs of product type and gender", blocks)


def pairs_table(ranked: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Of `Combinations.ranked`, one row a pair."""
    return pd.DataFrame(
        {
            "product type": pair["labels"][0],
            "gender": pair["labels"][1],
            "training photographs": pair["seen"],
            "expected": pair["expected"],
            **{f"answers to {kind}": count for kind, count in pair["answers"].items()},
        }
        for pair in ranked
    )


def _share(part: pd.Series, attribute: str) -> str:
    accuracy, low, high = (100 * part[f"{attribute}_{what}"] for what in ("accuracy", "low", "high"))
    return f"{accuracy:.1f} ({low:.1f}–{high:.1f})"


def _marked(part: pd.Series, attribute: str, everything: pd.Series) -> str:
    usual = everything[f"{attribute}_accuracy"]
    below, above = part[f"{attribute}_high"] < usual, part[f"{attribute}_low"] > usual
    return f"{'▼ ' if below else '▲ ' if above else ''}{_share(part, attribute)}"


def of_attribute(found: Findings, reliability: bytes, photographer: Photographer) -> Section:
    """`reliability` is the diagram, a PNG."""
    name, title = found.attribute.name, found.attribute.title
    return Section(
        title,
        [
            Section("What is confused with what", _matrix(found)),
            Section("Most frequent confusions", _confusions(found, photographer)),
            Section(
                "Can its confidence be believed?",
                [Text(RELIABILITY), Picture(f"figures/reliability_{name}.png", f"{title}: reliability", reliability)],
            ),
            Section("Likely label errors", _label_errors(found, photographer)),
            Section("Every class", [_classes(found)]),
        ],
    )


def _matrix(found: Findings) -> list[Block]:
    name, title, confusion = found.attribute.name, found.attribute.title, found.confusion
    unused = len(set(found.answers.labels) - set(confusion.labels))
    answered = int(confusion.support.sum() - confusion.counts.sum())
    blocks: list[Block] = [Text(MATRIX)]
    if unused:
        text = f"Left out are {unused} classes that no photograph here has for its label; answers among them: "
        blocks.append(Text(f"{text}{answered:,}."))
    if len(confusion.labels) > BLOCK:
        picture = png(overview(title, confusion))
        blocks.append(Picture(f"figures/confusion_{name}.png", f"{title}: confusion matrix", picture))
        blocks.append(Text(ZOOMS))
    if confusion.blocks:
        picture = png(zooms(title, confusion))
        blocks.append(Picture(f"figures/confusion_zoom_{name}.png", f"{title}: confusion matrix, enlarged", picture))
    return blocks


def _frequent(found: Findings) -> list[Any]:
    return list(found.confusions.head(FREQUENT).itertuples())


def _confusions(found: Findings, photographer: Photographer) -> list[Block]:
    frequent, name = _frequent(found), found.attribute.name
    if not frequent:
        return [Text("None: every answer is right.")]
    rows, lines = [], []
    for c in frequent:
        rows.append((c.label, c.answer, f"{c.count:,}", f"{100 * c.share:.1f}"))
        lines.append([_example(example, photographer) for example in examples(found.answers.rows, c.label, c.answer)])
    text = f"The share is of all photographs with the label. Up to {EXAMPLES} of each, from sure to unsure answers."
    alt = f"{found.attribute.title}: examples of these confusions, in their order"
    sheet = Sheet.of(f"figures/confusions_{name}.png", alt, lines)
    return [Text(text), Table(("label", "answer", "photographs", "share %"), rows, words=2, sheet=sheet)]


def examples(rows: pd.DataFrame, label: str, answer: str) -> list[Any]:
    """Up to `EXAMPLES` rows with this label and this answer, spread evenly from the surest to the least sure."""
    pair = rows[(rows["label"] == label) & (rows["answer"] == answer)].sort_values("confidence", ascending=False)
    places = np.linspace(0, len(pair) - 1, min(EXAMPLES, len(pair))).round().astype(int)
    return list(pair.iloc[places].itertuples())


def _example(row: Any, photographer: Photographer) -> Photo:
    return Photo.of(photographer(row.Index), f"{row.id}: {100 * row.confidence:.0f} %")


def _label_errors(found: Findings, photographer: Photographer) -> list[Block]:
    suspects, name = found.label_errors, found.attribute.name
    shown = suspects.head(SHEET_LINES * SHEET_PLACES)
    blocks: list[Block] = [Text(SUSPICIONS), Text(f"{_how_many(found)} {_same_picture(found)}")]
    photos = [
        Photo.of(photographer(s.Index), f"{s.id}", f"{s.label}", f"→ {s.answer}", f"{100 * s.confidence:.1f} %")
        for s in shown.itertuples()
    ]
    if photos:
        lines = [photos[i : i + SHEET_PLACES] for i in range(0, len(photos), SHEET_PLACES)]
        alt = f"{found.attribute.title}: likely label errors with id, label, answer and confidence"
        blocks.append(Sheet.of(f"figures/label_errors_{name}.png", alt, lines))
    return blocks


def _how_many(found: Findings) -> str:
    suspects, rows = len(found.label_errors), len(found.answers.rows)
    shown = min(suspects, SHEET_LINES * SHEET_PLACES)
    return (
        f"{suspects:,} of {rows:,} labels ({100 * suspects / rows:.1f} %), all of them in "
        f"label_errors_{found.attribute.name}.csv; the {shown} likeliest below: id, label → answer, confidence."
    )


def _same_picture(found: Findings) -> str:
    apart, several = found.contradictions["picture"].nunique(), found.pictures_with_several_ids
    return (
        f"In the whole table {several:,} pictures stand, alike or nearly so, under several ids; {apart:,} of them with "
        f"different labels (same_picture_{found.attribute.name}.csv)."
    )


def _classes(found: Findings) -> Table:
    columns = ("class", "precision %", "recall %", "F1", "photographs", "answers", "training photographs")
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
    return Table(columns, rows, summary=f"{len(rows)} classes, frequent ones first")


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"
