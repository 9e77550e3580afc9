"""The metrics of a split as Markdown tables, as `evaluate` prints them and the model card and README show them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from data_prep.photographs import EVERYDAY, HIGH_RESOLUTION, ON_MODEL
from fashion_model.attributes import Attribute
from fashion_model.figures import SHOWN, WORN_ACCESSORIES, accuracy_rows, found_rows, note, percent
from train.data.domains import OTHER, OTHER_EMPTY, PEOPLE, PHONE, THUMBNAILS, WORN
from train.data.domains import TITLES as TITLES_OF_DOMAINS
from train.evaluate.inference import PASTED

ACCESSORIES = {WORN: WORN_ACCESSORIES, ON_MODEL: "on_model_accessories"}  # sections of metrics.json for parts
TITLES = TITLES_OF_DOMAINS | {
    PASTED: "the catalogue's accessories and the like, pasted on other backgrounds",
    WORN_ACCESSORIES: SHOWN[WORN_ACCESSORIES],
    ACCESSORIES[ON_MODEL]: "… of them bags and watches",
}
# Photographs like those of users come first.
ORDER = (
    *(PHONE, WORN, ACCESSORIES[WORN], ON_MODEL, ACCESSORIES[ON_MODEL], OTHER, PASTED, HIGH_RESOLUTION, THUMBNAILS),
    *(PEOPLE, EVERYDAY, OTHER_EMPTY),
)
SINGLE_LABEL = {
    "top5_accuracy": "top-5 %",
    "balanced_accuracy": "balanced accuracy %",
    "macro_f1": "macro F1 %",
    "majority_share": "most frequent label %",
}


def tables(attributes: Sequence[Attribute], metrics: Mapping[str, Any], split: str) -> list[pd.DataFrame]:
    """All tables of a split; `note` is for the first."""
    domains = metrics["domains"]
    catalogue = [
        single_label_table(attributes, domains[name], f"{TITLES[name]}, {split} split")
        for name in (HIGH_RESOLUTION, THUMBNAILS)
        if name in domains
    ]
    gates = [
        gates_table(attributes, of_domain["gates"], TITLES[name])
        for name, of_domain in domains.items()
        if "gates" in of_domain
    ]
    first = [accuracy_table(attributes, metrics), confidence_table(attributes, metrics)]
    return first + catalogue + gates + finder_tables(metrics.get("finder") or {})


def markdown(attributes: Sequence[Attribute], metrics: Mapping[str, Any], split: str) -> str:
    """The tables, and what to know about them."""
    parts = [markdown_table(table) for table in tables(attributes, metrics, split)]
    parts.insert(1, note(metrics))
    if agreement := metrics.get("agreement"):
        same = [f"{a.title.lower()} {percent(agreement[a.name])} %" for a in attributes if a.name in agreement]
        parts.append(f"The thumbnail and the photograph of a product get the same label: {', '.join(same)}.")
    if metrics["rows_left_out"]:
        parts.append(f"Left out, because their pictures were trained on: {metrics['rows_left_out']} rows.")
    return "\n\n".join(parts)


def accuracy_table(attributes: Sequence[Attribute], metrics: Mapping[str, Any]) -> pd.DataFrame:
    """`accuracy_rows` of all domains."""
    return frame(accuracy_rows(attributes, metrics, {name: TITLES[name] for name in ORDER}))


def frame(rows: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Rows whose first has the titles."""
    return pd.DataFrame(rows[1:], columns=rows[0])


def confidence_table(attributes: Sequence[Attribute], metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Mean confidence, accuracy and calibration error of each attribute in each domain with labels."""
    keys, rows = ("confidence", "accuracy", "calibration_error"), []
    for name in ORDER:
        measured = metrics["domains"].get(name, {"attributes": {}})["attributes"]
        cells = [" / ".join(percent(measured[a.name][key]) for key in keys if a.name in measured) for a in attributes]
        if any(cells):
            rows.append([TITLES[name], *cells])
    columns = ["mean confidence / accepted / calibration error, %", *(a.title for a in attributes)]
    return pd.DataFrame(rows, columns=columns)


def single_label_table(attributes: Sequence[Attribute], of_domain: Mapping[str, Any], title: str) -> pd.DataFrame:
    """Metrics of images with one label, one row an attribute."""
    rows = [
        [a.title, *(percent(measured[key]) for key in SINGLE_LABEL), f"{measured['nll']:.3f}"]
        for a in attributes
        if "nll" in (measured := of_domain["attributes"].get(a.name, {}))
    ]
    return pd.DataFrame(rows, columns=[title, *SINGLE_LABEL.values(), "negative log-likelihood"])


def finder_tables(found: Mapping[str, Any]) -> list[pd.DataFrame]:
    """What the finder finds, and its average precision in each group."""
    tables = [frame(rows)] if (rows := found_rows(found)) else []
    if precisions := found.get("average_precision"):
        cells = {"all": found["mean_average_precision"]} | precisions
        columns = ["average precision at half overlap, %", ""]
        tables.append(pd.DataFrame([[name, percent(value)] for name, value in cells.items()], columns=columns))
    return tables


def gates_table(attributes: Sequence[Attribute], gates: Mapping[str, Any], title: str) -> pd.DataFrame:
    """The mean weight of each expert for each attribute, and its standard deviation over the images."""
    rows = []
    for a in attributes:
        pairs = zip(gates[a.name]["mean"], gates[a.name]["deviation"], strict=True)
        rows.append([a.title, *(f"{percent(mean)} (±{percent(deviation)})" for mean, deviation in pairs)])
    experts = [f"expert {number}" for number in range(1, len(rows[0]))]
    return pd.DataFrame(rows, columns=[f"gate weights on {title}, % (± standard deviation)", *experts])


def markdown_table(table: pd.DataFrame) -> str:
    """Markdown; all columns but the first are right-aligned."""
    align = ["left", *["right"] * (len(table.columns) - 1)]
    return table.to_markdown(index=False, colalign=align, disable_numparse=True)
