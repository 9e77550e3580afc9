"""The tab "How good is it?": what `train evaluate` and `train report` measured, in words and as a table of classes."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from fashion_model.app.result import HINTS
from fashion_model.checkpoint import CLASSES, METRICS, REPORT
from fashion_model.classifier import FashionClassifier

MAX_JSON = 8_000_000  # bytes of a file
# Domains of metrics.json that the page shows, in this order.
DOMAINS = {
    "phone": "photographs taken with phones at home, by people whose photographs it never saw",
    "worn": "products that people wear in the street, cropped",
    "high_resolution": "catalogue photographs",
}
SEASON = (
    "The season of use follows the date at which the catalogue listed a product. A photograph does not show that, so "
    "take the season as a hint."
)
COLUMNS = (
    "Of each class: its images in the catalogue's test split and how many of them are recognised; how often the label "
    "is right where it is given, there and on phone photographs; and what it is confused with."
)
HEADERS = (
    "Class",
    "Attribute",
    "Images",
    "Recognised, %",
    "Right, %",
    "Right, phones",
    "Taken for",
    "Answered instead of",
)


def quality_tab(classifier: FashionClassifier) -> None:
    gr.HTML(in_words(classifier), elem_id="quality")
    rows = class_rows(read_file(classifier, CLASSES))
    if rows:
        gr.HTML(f"<p class='hint'>{COLUMNS}</p>")
        gr.Dataframe(
            rows,
            headers=list(HEADERS),
            datatype=["str", "str", "number", "number", "number", "str", "str", "str"],
            label="Classes",
            show_label=False,
            show_search="search",
            interactive=False,
            wrap=True,
            max_height=480,
            column_widths=["150px", "120px", "80px", "120px", "80px", "100px", "240px", "240px"],
            elem_id="classes",
        )
    if report_of(classifier):
        gr.HTML('<p><a href="report" target="_blank" rel="noopener">The full report</a> with all confusions</p>')


def report_of(classifier: FashionClassifier) -> Path | None:
    path = classifier.directory / REPORT if classifier.directory else None
    return path if path and path.is_file() else None


def read_file(classifier: FashionClassifier, file: str) -> dict[str, Any]:
    """A JSON file of the checkpoint; empty where it is missing, too large or something else. It may be anyone's."""
    path = classifier.directory / file if classifier.directory else None
    if path is None or not path.is_file() or path.stat().st_size > MAX_JSON:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def measured_on_test(classifier: FashionClassifier) -> dict[str, dict[str, float]]:
    """Domain → attribute → accuracy, and "images" and "groups" (people; 0 where that is not known).

    Empty where metrics.json is not what `train evaluate` writes.
    """
    try:
        return {
            domain: {name: float(metrics["accuracy"]) for name, metrics in section["attributes"].items()}
            | {"images": int(section["images"]), "groups": int(section.get("groups", 0))}
            for domain, section in read_file(classifier, METRICS)["splits"]["test"]["domains"].items()
            if domain in DOMAINS
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def in_words(classifier: FashionClassifier) -> str:
    """HTML: how often the predictions are right."""
    test = measured_on_test(classifier)
    parts = []
    for domain in [name for name in DOMAINS if name in test]:
        measured = test[domain]
        items = "".join(
            f"<li><b>{round(100 * measured[a.name])}</b> {html.escape(a.title)}"
            f"{' (a hint)' if a.name in HINTS else ''}</li>"
            for a in classifier.attributes
            if a.name in measured
        )
        parts.append(f"<h2>Right in 100 {DOMAINS[domain]}</h2><ul class='figures'>{items}</ul>")
        if domain == "phone":
            parts.append(f"<p class='hint'>{measured['images']:,} photographs by {measured['groups']} people.</p>")
    if not parts:
        return "<p>Nothing was measured for this checkpoint.</p>"
    if any(a.name in HINTS for a in classifier.attributes):
        parts.append(f"<p>{SEASON}</p>")
    return "".join(parts)


def class_rows(document: dict[str, Any]) -> list[list[str | int | None]]:
    """A row of HEADERS for each class; empty where the document is not what `train report` writes."""
    try:
        return [
            [
                str(label),
                str(attribute["title"]),
                int(figures["images"]),
                _percent(figures["recall"]),
                _percent(figures["precision"]),
                f"{int(phone['accepted'])} of {int(phone['images'])}" if (phone := figures.get("phone")) else "",
                _counts(figures["predicted_as"]),
                _counts(figures["confused_from"]),
            ]
            for attribute in document["attributes"].values()
            for label, figures in attribute["classes"].items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


def _counts(pairs: list[tuple[str, int]]) -> str:
    return ", ".join(f"{label} ({int(count)})" for label, count in pairs)
