"""The tab "How good is it?": what `train evaluate` and `train report` measured, in words and as a table of classes."""

import json
from pathlib import Path
from typing import Any

from fashion_model.app.answer import render
from fashion_model.checkpoint import CLASSES, METRICS, REPORT
from fashion_model.classifier import FashionClassifier

PHONE = "phone"
# Domains of metrics.json that the page shows, in this order.
DOMAINS = {
    PHONE: "Taken with phones at home",
    "worn": "Worn by people in the street, cropped",
    "worn_accessories": "… of them bags, eyewear, hats, jewellery and the like",
    "everyday": "Everyday things that are no fashion products",
    "high_resolution": "Catalogue photographs",
}


def file_of(classifier: FashionClassifier, name: str) -> Path | None:
    path = classifier.directory / name if classifier.directory else None
    return path if path and path.is_file() else None


def read_file(classifier: FashionClassifier, name: str) -> Any:
    """A JSON file of the checkpoint; empty where it is missing. It may be anyone's, and have any shape."""
    path = file_of(classifier, name)
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def measured_on_test(classifier: FashionClassifier) -> dict[str, dict[str, Any]]:
    """Of each domain: "right", attribute → how many predictions of 100; "recognized", how many of 100 pictures are seen
    as fashion products; "images"; "people", 0 where that is not known.

    Empty where metrics.json is not what `train evaluate` writes.
    """
    try:
        domains = read_file(classifier, METRICS)["splits"]["test"]["domains"]
        return {
            name: {
                "title": title,
                "right": {a: round(100 * float(m["accuracy"])) for a, m in domains[name]["attributes"].items()},
                "images": int(domains[name]["images"]),
                "recognized": round(100 * float(domains[name]["recognized"]["share"])),
                "people": int(domains[name].get("groups", 0)) if name == PHONE else 0,
            }
            for name, title in DOMAINS.items()
            if name in domains
        }
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
        return {}


def in_words(classifier: FashionClassifier) -> str:
    """HTML: how often the predictions are right, a table of the classes, and a link to the report."""
    domains = list(measured_on_test(classifier).values())
    return render(
        "quality",
        domains=domains,
        attributes=classifier.attributes,
        shown={name for domain in domains for name in domain["right"]},
        rows=class_rows(classifier),
        report=file_of(classifier, REPORT),
    )


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
