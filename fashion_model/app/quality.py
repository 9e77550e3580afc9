"""The tab "How good is it?": the model card's figures, and those of each class, as `train report` measured them."""

import json
from pathlib import Path
from typing import Any

from fashion_model.app.answer import render
from fashion_model.checkpoint import CARD, CLASSES, REPORT
from fashion_model.classifier import FashionClassifier

SHOWN = ("| prediction accepted", "| products found", "Recognized: ")  # what parts of the model card begin with


def file_of(classifier: FashionClassifier, name: str) -> Path | None:
    path = classifier.directory / name if classifier.directory else None
    return path if path and path.is_file() else None


def read_file(classifier: FashionClassifier, name: str) -> Any:
    """A JSON file of the checkpoint; empty where it is missing. It may be anyone's, and have any shape."""
    path = file_of(classifier, name)
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def measured(classifier: FashionClassifier) -> list[str | list[list[str]]]:
    """The model card's tables of the test split, rows of cells with titles first, and what is said about them."""
    path = file_of(classifier, CARD)
    parts = path.read_text(encoding="utf-8", errors="replace").split("\n\n") if path else []
    shown = (part.strip() for part in parts if part.startswith(SHOWN))
    return [_rows(part) if part.startswith("|") else part for part in shown]


def _rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table."""
    lines = [line.strip().removeprefix("|").removesuffix("|") for line in table.splitlines()]
    titles, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [titles, *rows[1:]]


def in_words(classifier: FashionClassifier) -> str:
    """HTML: how often the predictions are right, a table of the classes, and a link to the report."""
    rows, report = class_rows(classifier), file_of(classifier, REPORT)
    return render("quality", measured=measured(classifier), rows=rows, report=report)


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
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
