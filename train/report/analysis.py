"""What a checkpoint gets wrong on the catalogue's thumbnails, as tables that the page and the CSV files show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from data_prep.splits import TRAIN
from fashion_model.attributes import Attribute
from train.data.domains import PHONE, THUMBNAILS
from train.data.table import NAME
from train.evaluate.predictions import SplitPredictions

PAIRS = 3  # confusions of a class in classes.json, in each direction
ALL = "all"  # kind of the slice with every image
GROUPED_BY = (("gender", "season"), ("year",))  # columns of the cleaned table whose values are slices


@dataclass(frozen=True)
class AttributeAnalysis:
    """Each table is described by the function that makes it."""

    attribute: Attribute
    labels: tuple[str, ...]  # of the network
    images: pd.DataFrame
    tables: dict[str, pd.DataFrame]  # classes, confusions, label_errors


def analyze(attribute: Attribute, predictions: SplitPredictions, table: pd.DataFrame) -> AttributeAnalysis:
    """`table`: the cleaned table with the rows of all splits by their ids, and one label in each cell."""
    images = labeled_images(attribute, predictions, table)
    training_labels = table.loc[table["split"] == TRAIN, attribute.column]
    tables = {
        "classes": class_metrics(images["label"], images["prediction"], training_labels),
        "confusions": confused_pairs(images["label"], images["prediction"]),
        "label_errors": likely_label_errors(images),
    }
    return AttributeAnalysis(attribute, predictions.encoders.labels[attribute.name], images, tables)


def labeled_images(attribute: Attribute, predictions: SplitPredictions, table: pd.DataFrame) -> pd.DataFrame:
    """One row per thumbnail that has a label, with the index of `table`.

    Columns: id, group, name, label, prediction, confidence, label_probability. Where the prediction is one of several
    accepted labels, it is the label. The network may not know a label; its probability is then 0.
    """
    domain = predictions.domains[THUMBNAILS]
    labels = np.array(predictions.encoders.labels[attribute.name], dtype=object)
    probabilities = domain.probabilities(predictions.config)[attribute.name]  # (N, classes)
    rows = table.loc[[name.removesuffix(".jpg") for name in domain.names]]
    accepted, predicted = domain.accepted[attribute.name], probabilities.argmax(axis=1)
    images = rows[["id", "group", NAME]].rename(columns={NAME: "name"})
    images["label"] = np.where(accepted[np.arange(len(rows)), predicted], labels[predicted], rows[attribute.column])
    images["prediction"] = labels[predicted]
    images["confidence"] = probabilities.max(axis=1)
    images["label_probability"] = (probabilities * accepted).sum(axis=1)
    return images[images["label"] != ""]


def class_metrics(label: pd.Series, prediction: pd.Series, training_labels: pd.Series) -> pd.DataFrame:
    """One row per class that is a label or a prediction, the most frequent label first.

    Columns: label, precision, recall, f1, support (images with this label), predicted (images with this prediction),
    training_rows. Precision is NaN for a class that is never predicted, recall for one that is no image's label.
    """
    of_column = {"support": label, "predicted": prediction, "training_rows": training_labels}
    table = pd.DataFrame({"label": sorted({*label, *prediction})})
    counts = {
        column: table["label"].map(labels.value_counts()).fillna(0).astype(int) for column, labels in of_column.items()
    }
    right = table["label"].map(label[label == prediction].value_counts()).fillna(0)
    table["precision"], table["recall"] = right / counts["predicted"], right / counts["support"]
    table["f1"] = 2 * right / (counts["predicted"] + counts["support"])
    return table.assign(**counts).sort_values("support", ascending=False, kind="stable", ignore_index=True)


def confused_pairs(label: pd.Series, prediction: pd.Series) -> pd.DataFrame:
    """Columns label, prediction, count, share (of the images with the label); the most frequent pair first."""
    pairs = pd.DataFrame({"label": label, "prediction": prediction})[label != prediction]
    counts = pairs.groupby(["label", "prediction"]).size().rename("count").reset_index()
    counts["share"] = counts["count"] / label.value_counts()[counts["label"]].to_numpy()
    return counts.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def likely_label_errors(images: pd.DataFrame) -> pd.DataFrame:
    """The rows of `images` whose label is likely wrong, most likely first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 2021): the prediction differs from the label, and its
    probability reaches the mean probability of that class on images labeled with it. Sorted by the margin between the
    probabilities of prediction and label.
    """
    mean_probability = images.groupby("label")["label_probability"].mean()
    of_prediction = images["prediction"].map(mean_probability).astype(float)  # NaN if no image has this label
    confident = images["confidence"] >= of_prediction
    errors = images[(images["label"] != images["prediction"]) & confident]
    margin = errors["confidence"] - errors["label_probability"]
    return errors.loc[margin.sort_values(ascending=False, kind="stable").index]


def accuracy_by_slice(analyses: Sequence[AttributeAnalysis], table: pd.DataFrame) -> pd.DataFrame:
    """Columns kind, slice, attribute, images, accuracy, and low and high of its 95 % interval (Wilson 1927).

    Images are those whose label the network knows.
    """
    correct, rows = {}, []
    for analysis in analyses:
        images = analysis.images[analysis.images["label"].isin(analysis.labels)]
        correct[analysis.attribute.name] = images["label"] == images["prediction"]
    slices = {ALL: pd.Series("catalogue thumbnails", index=table.index)}
    for columns in GROUPED_BY:
        if set(columns) <= set(table):
            slices[" and ".join(columns)] = table[list(columns)].replace("", "unknown").agg(", ".join, axis=1)
    for kind, slice_of_row in slices.items():
        for name, members in slice_of_row.groupby(slice_of_row):
            for attribute, of_image in correct.items():
                part = of_image[of_image.index.isin(members.index)]
                if len(part):
                    interval = binomtest(int(part.sum()), len(part)).proportion_ci(method="wilson")
                    rows.append((kind, name, attribute, len(part), part.mean(), *interval))
    return pd.DataFrame(rows, columns=["kind", "slice", "attribute", "images", "accuracy", "low", "high"])


def classes_document(predictions: SplitPredictions, analyses: Sequence[AttributeAnalysis]) -> dict[str, Any]:
    """report/classes.json, which the app reads: metrics and most frequent confusions of each class.

    `phone` has the number of phone photographs with this prediction, and of those for which it is accepted.
    """
    attributes = {}
    for analysis in analyses:
        phone, confusions = _phone_counts(predictions, analysis.attribute.name), analysis.tables["confusions"]
        classes = {
            row.label: {
                "images": int(row.support),
                "precision": _rounded(row.precision),
                "recall": _rounded(row.recall),
                "predicted_as": _pairs(confusions, "label", row.label, "prediction"),
                "confused_from": _pairs(confusions, "prediction", row.label, "label"),
                "phone": phone.get(row.label),
            }
            for row in analysis.tables["classes"].itertuples()
        }
        attributes[analysis.attribute.name] = {"title": analysis.attribute.title, "classes": classes}
    return {"split": predictions.split, "attributes": attributes}


def _phone_counts(predictions: SplitPredictions, attribute: str) -> Mapping[str, dict[str, int]]:
    """Label → images with this prediction and a known label, and those of them for which it is accepted."""
    if PHONE not in predictions.domains:
        return {}
    domain = predictions.domains[PHONE]
    accepted, predicted = domain.accepted[attribute], domain.predicted[attribute]
    labels = np.array(predictions.encoders.labels[attribute], dtype=object)[predicted]
    images = pd.DataFrame({"label": labels, "accepted": accepted[np.arange(len(predicted)), predicted]})
    known = images[accepted.any(axis=1)]
    return known.groupby("label")["accepted"].agg(images="size", accepted="sum").to_dict("index")


def _pairs(confusions: pd.DataFrame, column: str, label: str, other: str) -> list[list[Any]]:
    return confusions.loc[confusions[column] == label, [other, "count"]].head(PAIRS).to_numpy().tolist()


def _rounded(share: float) -> float | None:
    return None if np.isnan(share) else round(float(share), 4)
