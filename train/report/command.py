"""Write the HTML report: what a checkpoint gets wrong.

Reads the predictions that `train evaluate` saved and metrics.json. Writes report/report.html, one page without scripts
that the app links to, its tables as CSV beside it, and report/classes.json, which the app's search over classes reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from data_prep.splits import TEST
from fashion_model.checkpoint import CLASSES, REPORT
from fashion_model.files import write_text
from train.data.domains import read_image
from train.data.table import read_table
from train.evaluate.predictions import saved_predictions
from train.evaluate.reliability import reliability_diagram
from train.evaluate.split_metrics import split_metrics
from train.finish.calibrate import calibration_samples
from train.report.answers import answers_of
from train.report.classes import classes_document
from train.report.document import Report
from train.report.drawing import png
from train.report.findings import Findings
from train.report.page import to_html
from train.report.sections import by_slice, of_attribute, summary
from train.report.slices import accuracy_by_slice


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    split: Literal["validation", "test"] = TEST
    output: Path | None = None  # the folder to write to; report/ in the checkpoint directory
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 1  # processes that read images


def run(config: Config) -> None:
    predictions = saved_predictions(config.checkpoint, config.data, config.split, config.device, config.workers)
    metrics, table = split_metrics(predictions, config.data), read_table(config.data)
    findings = [Findings.of(answers, table) for answers in answers_of(predictions, table)]
    slices = accuracy_by_slice(predictions, table)

    def image_at(index: int) -> Image.Image:
        return read_image(config.data / "images" / f"{table.loc[index, 'id']}.jpg")

    sections = [summary(predictions, metrics, slices, findings), by_slice(slices, findings)]
    for found in findings:
        name, title = found.attribute.name, found.attribute.title
        samples = calibration_samples(predictions, name)
        diagram = png(reliability_diagram(title, samples, predictions.config.temperatures[name]))
        sections.append(of_attribute(found, diagram, image_at))
    folder = config.output or config.checkpoint / Path(REPORT).parent
    folder.mkdir(parents=True, exist_ok=True)
    for found in findings:
        for file, rows in found.tables().items():
            rows.to_csv(folder / file, index=False)
    slices.to_csv(folder / "slices.csv", index=False)
    classes = classes_document(predictions, findings, image_at)
    write_text(folder / Path(CLASSES).name, json.dumps(classes, ensure_ascii=False, separators=(",", ":")))
    page = to_html(Report(f"Evaluation report: {config.checkpoint.resolve().name}", sections))
    write_text(folder / Path(REPORT).name, page)
    print(folder / Path(REPORT).name)
