"""Figures of metrics.json as text, in one form for the page, the README, the model card and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_model.attributes import Attribute

WORN_ACCESSORIES = "worn_accessories"  # section of metrics.json for a part of the domain worn
SHOWN = {  # the domains like what visitors photograph, and their titles
    "phone": "clothes, shoes and hats, taken with phones at home",
    "worn": "products worn by people in the street, cropped",
    WORN_ACCESSORIES: "… of them bags, eyewear, hats, jewellery and the like",
    "everyday": "everyday photographs without fashion products",
}
FOUND = {
    "recall": "products in the street: found, with the right group",
    "named": "… and with an accepted product type",
    "precision": "of what is found there: a product with its right group",
    "one_product": "phone photographs: exactly their one product is found",
    "nothing": "everyday photographs: no product is found",
}
NOTE = (
    "Recognized: how often the network is right that the image shows, or does not show, a fashion product. Which "
    "labels are accepted for phone photographs and worn products was decided by a multimodal model, not by people; for "
    "bags in a studio any kind of bag is accepted. The everyday photographs come from the same sources as those "
    "trained on. In brackets 95 % intervals, bootstrapped over people, photographs, products and styles."
)


def accuracy_rows(
    attributes: Sequence[Attribute], metrics: Mapping[str, Any], titles: Mapping[str, str] = SHOWN
) -> list[list[str]]:
    """The titles of columns, then a row for each domain of `titles`: the shares of accepted predictions.

    `metrics` are of a split. Attributes without known labels there are left out.
    """
    rows = [["prediction accepted, %", "images", *(a.title for a in attributes), "recognized"]]
    for name, title in titles.items():
        if of_domain := metrics["domains"].get(name):
            cells = [interval(of_domain["attributes"].get(a.name), "accuracy") for a in attributes]
            recognized = of_domain["recognized"]
            if not of_domain["is_fashion"]:
                low, high = recognized["interval"]
                recognized = {"share": 1 - recognized["share"], "interval": [1 - high, 1 - low]}
            text = f"{interval(recognized, 'share')} {'yes' if of_domain['is_fashion'] else 'no'}"
            rows.append([title, f"{of_domain['images']:,}", *cells, text])
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return [list(row) for row in zip(*kept, strict=True)]


def found_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The titles of columns, then a row for each measure of the finder. Empty without measures."""
    measured = {text: found[key] for key, text in FOUND.items() if found.get(key)}
    rows = [[text, f"{of_text['images']:,}", interval(of_text, "share")] for text, of_text in measured.items()]
    return [["products found in whole photographs, %", "of", "right"], *rows] if rows else []


def note(metrics: Mapping[str, Any]) -> str:
    """How to read `accuracy_rows`."""
    if not (coarse := metrics.get("coarse_label")):
        return NOTE
    share, images = interval(coarse, "share"), f"{coarse['images']:,}"
    return f"{NOTE} The product type fits the contributor's own label in {share} % of {images} phone photographs."


def interval(metrics: Mapping[str, Any] | None, key: str) -> str:
    """`81.2 (79.0–83.1)`, in percent; empty for None."""
    if metrics is None:
        return ""
    low, high = metrics["interval" if key == "share" else f"{key}_interval"]
    return f"{percent(metrics[key])} ({percent(low)}–{percent(high)})"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"
