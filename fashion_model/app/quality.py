"""The tab "How good is it?": what `train evaluate` and `train report` measured, in words, and a search over classes."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from fashion_model.app.result import HINTS
from fashion_model.checkpoint import CLASSES, METRICS, REPORT
from fashion_model.classifier import FashionClassifier

MAX_BYTES = 8_000_000  # of a file
# Domains of metrics.json that the page tells of, first ones first.
DOMAINS = {
    "phone": "photographs taken with phones at home, by people whose photographs it never saw",
    "high_resolution": "catalogue photographs",
}
SEASON = (
    "The season of use follows the date at which the catalogue listed a product. A photograph does not show that, so "
    "take the season as a hint."
)


def quality_tab(classifier: FashionClassifier) -> None:
    gr.HTML(in_words(classifier), elem_id="quality")
    classes = classes_html(read_file(classifier, CLASSES))
    if classes:
        chosen = gr.Dropdown(
            list(classes),
            value=None,
            label="Search a class",
            filterable=True,
            elem_id="class",
            info="For example, Kurtas",
        )
        found = gr.HTML(elem_id="class-figures")
        chosen.input(
            fn=lambda title: classes.get(title, ""),
            inputs=chosen,
            outputs=found,
            api_visibility="private",
            show_progress="hidden",
        )
    if report_of(classifier):
        gr.HTML('<p><a href="report" target="_blank" rel="noopener">The full report</a> with all confusions</p>')


def report_of(classifier: FashionClassifier) -> Path | None:
    path = classifier.directory / REPORT if classifier.directory else None
    return path if path and path.is_file() else None


def read_file(classifier: FashionClassifier, file: str) -> dict[str, Any]:
    """A JSON file of the checkpoint; empty where it is missing, too large or something else. It may be anyone's."""
    path = classifier.directory / file if classifier.directory else None
    if path is None or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True)
class Measured:
    images: int
    groups: int  # people; 0 where that is not known
    accuracy: dict[str, float]  # by attribute


def measured_on_test(classifier: FashionClassifier) -> dict[str, Measured]:
    """By domain; empty where metrics.json is not what `train evaluate` writes."""
    try:
        return {
            domain: Measured(
                int(found["images"]),
                int(found.get("groups", 0)),
                {name: float(metrics["accuracy"]) for name, metrics in found["attributes"].items()},
            )
            for domain, found in read_file(classifier, METRICS)["splits"]["test"].items()
            if domain in DOMAINS
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def in_words(classifier: FashionClassifier) -> str:
    """HTML: how often the answers are right."""
    test = measured_on_test(classifier)
    parts = []
    for domain, text in DOMAINS.items():
        measured = test.get(domain)
        if not measured:
            continue
        items = "".join(
            f"<li><b>{round(100 * measured.accuracy[a.name])}</b> {html.escape(a.title)}"
            f"{' (a hint)' if a.name in HINTS else ''}</li>"
            for a in classifier.attributes
            if a.name in measured.accuracy
        )
        parts.append(f"<h2>Right in 100 {text}</h2><ul class='figures'>{items}</ul>")
        if domain == "phone":
            parts.append(f"<p class='hint'>{measured.images:,} photographs by {measured.groups} people.</p>")
    if not parts:
        return "<p>Nothing was measured for this checkpoint.</p>"
    if any(a.name in HINTS for a in classifier.attributes):
        parts.append(f"<p>{SEASON}</p>")
    return "".join(parts)


def classes_html(document: dict[str, Any]) -> dict[str, str]:
    """Title of each class → its HTML; empty where the document is not what `train report` writes."""
    try:
        return {
            f"{label} ({attribute['title'].lower()})": class_html(label, found)
            for attribute in document["attributes"].values()
            for label, found in attribute["classes"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def class_html(label: str, found: dict[str, Any]) -> str:
    """Precision, recall, confusions and examples of a class."""
    lines = [
        _share(found["recall"], f"of its {found['images']:,} catalogue photographs are recognised"),
        _share(found["precision"], f"of the answers “{html.escape(label)}” are right"),
    ]
    if phone := found.get("phone"):
        counts = f"{int(phone['accepted'])} of {int(phone['images'])}"
        lines.insert(0, f"<li><b>{counts}</b> phone photographs with this answer are right</li>")
    return (
        f"<h2>{html.escape(label)}</h2><ul class='figures'>{''.join(lines)}</ul>"
        f"{_pairs('Taken for', found['predicted_as'])}{_pairs('Answered instead of', found['confused_from'])}"
        f"{_pictures('Right', [(picture, label) for picture in found['right']], label)}"
        f"{_pictures('Wrong', found['wrong'], label)}"
    )


def _share(share: float | None, text: str) -> str:
    return "" if share is None else f"<li><b>{round(100 * share)} %</b> {text}</li>"


def _pairs(title: str, pairs: list[tuple[str, int]]) -> str:
    if not pairs:
        return ""
    return f"<p>{title}: {', '.join(f'{html.escape(label)} ({int(count)})' for label, count in pairs)}</p>"


def _pictures(title: str, pictures: list[tuple[str, str]], label: str) -> str:
    """Pictures (base64 of WebP) with what was answered."""
    if not pictures:
        return ""
    shown = "".join(
        f'<figure><img alt="A product labelled {html.escape(label, quote=True)}" width="60" height="80"'
        f' src="data:image/webp;base64,{html.escape(picture, quote=True)}">'
        f"<figcaption>{html.escape(answer)}</figcaption></figure>"
        for picture, answer in pictures
    )
    return f"<h3>{title}</h3><div class='pictures'>{shown}</div>"
