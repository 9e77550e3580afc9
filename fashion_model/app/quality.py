"""The tab "How good is it?": the README's figures, of the checkpoint that is served, and those of each class."""

import json
from pathlib import Path
from typing import Any

from fashion_model.app.answer import render
from fashion_model.checkpoint import CLASSES, METRICS, REPORT
from fashion_model.classifier import FashionClassifier
from fashion_model.figures import accuracy_rows, found_rows, note

FAULTS = (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError)  # of files of any shape


def file_of(classifier: FashionClassifier, name: str) -> Path | None:
    path = classifier.directory / name if classifier.directory else None
    return path if path and path.is_file() else None


def read_file(classifier: FashionClassifier, name: str) -> Any:
    """A JSON file of the checkpoint; empty where it is missing. It may be anyone's, and have any shape."""
    path = file_of(classifier, name)
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def measured(classifier: FashionClassifier) -> list[str | list[list[str]]]:
    """The README's tables of the test split, as rows of cells with titles first, and what is said about them.

    Empty where metrics.json is not what `train evaluate` writes.
    """
    try:
        metrics = read_file(classifier, METRICS)["splits"]["test"]
        accuracy, found = accuracy_rows(classifier.attributes, metrics), found_rows(metrics.get("finder") or {})
        return [part for part in (accuracy, note(metrics), found) if part] if accuracy[1:] else []
    except FAULTS:
        return []


def in_words(classifier: FashionClassifier) -> str:
    """HTML: how often the predictions are right, a table of the classes, and a link to the report."""
    rows, report = class_rows(classifier), file_of(classifier, REPORT)
    seasons = "season" in classifier.encoders.labels
    return render("quality", measured=measured(classifier), rows=rows, report=report, seasons=seasons)


def class_rows(classifier: FashionClassifier) -> list[list[str | int | None]]:
    """A row of the table for each class; empty where classes.json is not what `train report` writes."""
    try:
        return [
            [
                str(label),
                str(attribute["title"]),
                int(figures["images"]),
                *(None if figures[name] is None else round(100 * figures[name]) for name in ("recall", "precision")),
                f"{int(phone['accepted'])} of {int(phone['images'])}" if (phone := figures.get("phone")) else "",
                *(
                    ", ".join(f"{other} ({int(count)})" for other, count in figures[name])
                    for name in ("predicted_as", "confused_from")
                ),
            ]
            for attribute in read_file(classifier, CLASSES)["attributes"].values()
            for label, figures in attribute["classes"].items()
        ]
    except FAULTS:
        return []
