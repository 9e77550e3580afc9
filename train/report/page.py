"""The command `report`: one HTML page with tables, photographs and figures. The template has the explanations."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import StrictUndefined, Template
from matplotlib import rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

from data_prep.splits import THUMBNAIL
from data_prep.tables import accepted_labels
from fashion_model.checkpoint import CLASSES, REPORT
from fashion_model.system import write_text
from train.data.domains import read_image
from train.data.table import read_table
from train.evaluate.metrics import reliability_diagram
from train.evaluate.predictions import SplitPredictions, saved_predictions
from train.evaluate.split_metrics import Config, split_metrics
from train.evaluate.tables import note, percent, tables
from train.report.analysis import ALL, AttributeAnalysis, accuracy_by_slice, analyze, classes_document

TEMPLATE = Path(__file__).with_name("page.html.jinja")
MATRIX_CLASSES = 150  # in a matrix at most
ANNOTATED = 12  # classes at most of a matrix with percentages
LONGEST_LABEL = 32  # letters in a figure
JPEG_QUALITY = 70  # of photographs; about 1.4 kB each


def report(config: Config) -> None:
    """Write the HTML report: what a checkpoint gets wrong.

    Reads the predictions that `train evaluate` saved. Writes report/report.html, one page without scripts that the app
    links to, its tables as CSV beside it, and report/classes.json, which the app's table of classes reads.
    """
    predictions = saved_predictions(config.checkpoint, config.data, config.split, config.device, config.workers)
    table = read_table(config.data).set_index("id", drop=False)
    attributes = predictions.config.attributes
    columns = [attribute.column for attribute in attributes]
    table[columns] = table[columns].map(lambda cell: next(iter(accepted_labels(cell)), ""))  # the best of each
    analyses = [analyze(attribute, predictions, table) for attribute in attributes]
    metrics, slices = split_metrics(predictions, config.data), accuracy_by_slice(analyses, table)
    # Labels and names come from the data: autoescape and parse_math keep them text.
    template = Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True, undefined=StrictUndefined)
    with rc_context({"text.parse_math": False}):
        page = template.render(
            checkpoint=predictions.checkpoint.resolve().name,
            split=predictions.split,
            metrics=metrics,
            tables=tables(attributes, metrics, predictions.split),
            note=note(metrics),
            slices=slice_tables(slices, {attribute.name: attribute.title for attribute in attributes}),
            sections=[attribute_section(analysis, predictions) for analysis in analyses],
            examples=examples,
            photograph=lambda product: _jpeg(config.data / "images" / f"{product}.jpg"),
            percent=percent,
        )
    classes = json.dumps(classes_document(predictions, analyses), ensure_ascii=False, separators=(",", ":"))
    folder = (config.checkpoint / REPORT).parent
    folder.mkdir(exist_ok=True)
    slices.to_csv(folder / "slices.csv", index=False)
    for analysis in analyses:
        for kind, rows in analysis.tables.items():
            rows.to_csv(folder / f"{kind}_{analysis.attribute.name}.csv", index=False)
    write_text(config.checkpoint / CLASSES, classes)
    write_text(config.checkpoint / REPORT, page)
    print(config.checkpoint / REPORT)


def slice_tables(slices: pd.DataFrame, titles: Mapping[str, str]) -> list[pd.DataFrame]:
    """The slices of each kind, marked where the interval excludes the accuracy on all images.

    `titles`: attribute name → title.
    """
    overall = slices["attribute"].map(slices[slices["kind"] == ALL].set_index("attribute")["accuracy"])
    marks = np.select([slices["high"] < overall, slices["low"] > overall], ["▼ ", "▲ "], "")
    shares = zip(marks, *(slices[column].map(percent) for column in ("accuracy", "low", "high")), strict=True)
    slices = slices.assign(cell=[f"{mark}{accuracy} ({low}–{high})" for mark, accuracy, low, high in shares])
    tables = []
    for kind, part in slices[slices["kind"] != ALL].groupby("kind", sort=False):
        table = part.pivot(index="slice", columns="attribute", values="cell").fillna("")
        table = table.reindex(index=part["slice"].unique(), columns=list(titles), fill_value="").rename(columns=titles)
        table.insert(0, "images", part.groupby("slice")["images"].max().map("{:,}".format))
        tables.append(table.rename_axis(index=kind).reset_index())
    return tables


def attribute_section(analysis: AttributeAnalysis, predictions: SplitPredictions) -> dict[str, Any]:
    """What the template needs besides the analysis."""
    classes = analysis.tables["classes"].rename(columns={"label": "class", "f1": "F1", "support": "images"})
    for share in ("precision", "recall", "F1"):
        classes[share] = ["" if np.isnan(value) else percent(value) for value in classes[share]]
    shown = list(classes["class"].head(MATRIX_CLASSES))
    matrix = matrix_figure(analysis.images["label"], analysis.images["prediction"], shown) if shown else None
    reliability = reliability_diagram(analysis.attribute, predictions)
    figures = {"matrix": matrix and _png(matrix), "reliability": reliability and _png(reliability)}
    return {"analysis": analysis, "classes": classes, **figures}


def examples(images: pd.DataFrame, label: str, prediction: str) -> pd.DataFrame:
    """The images with this label and prediction, the most confident first."""
    images = images[(images["label"] == label) & (images["prediction"] == prediction)]
    return images.sort_values("confidence", ascending=False, kind="stable")


def matrix_figure(label: pd.Series, prediction: pd.Series, classes: Sequence[str]) -> Figure:
    """The confusion matrix of these classes."""
    annotated = len(classes) <= ANNOTATED
    side = (0.6 if annotated else 0.125) * len(classes) + 3
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay.from_predictions(
        label,
        prediction,
        labels=classes,
        display_labels=[text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…" for text in classes],
        normalize="true",
        include_values=annotated,
        values_format=".0%",
        cmap="Blues",
        colorbar=False,
        im_kw={"norm": PowerNorm(0.5, 0, 1)},  # a square root, so that a confusion of 2 % is visible
        ax=axes,
    )
    figure.colorbar(display.im_, ax=axes, shrink=0.5, aspect=40)
    axes.tick_params(labelsize=9 if annotated else 7, top=True, labeltop=True, right=True, labelright=not annotated)
    axes.tick_params("x", labelrotation=90)
    return figure


def _png(figure: Figure) -> str:
    """A data URI of a PNG with a palette of 256 colors, a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    # Median cut would turn pale blue gray.
    return _data_uri(Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE), "PNG", optimize=True)


def _jpeg(path: Path) -> str:
    """A data URI of the image, at most as large as the catalogue's thumbnails."""
    image = read_image(path)
    image.thumbnail(THUMBNAIL)
    return _data_uri(image, "JPEG", quality=JPEG_QUALITY)


def _data_uri(image: Image.Image, format: str, **options: Any) -> str:
    content = io.BytesIO()
    image.save(content, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
