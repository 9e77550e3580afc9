"""Write the HTML report: what a checkpoint gets wrong.

Reads the predictions that `train evaluate` saved. Writes report/report.html, one page without scripts that the app
links to, its tables as CSV beside it, and report/classes.json, which the app's table of classes reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from data_prep.splits import TEST
from fashion_model.checkpoint import CLASSES, REPORT
from fashion_model.system import write_text
from train.data.table import read_table
from train.evaluate.predictions import saved_predictions
from train.evaluate.split_metrics import split_metrics
from train.report.analysis import accuracy_by_slice, analyze, classes_document
from train.report.page import render


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
    table = read_table(config.data)
    analyses = [analyze(attribute, predictions, table) for attribute in predictions.attributes]
    slices = accuracy_by_slice(analyses, table)
    metrics = split_metrics(predictions, config.data)
    page = render(predictions, metrics, analyses, slices, config.data / "images")
    classes = json.dumps(classes_document(predictions, analyses), ensure_ascii=False, separators=(",", ":"))
    folder = config.output or config.checkpoint / Path(REPORT).parent
    folder.mkdir(parents=True, exist_ok=True)
    for analysis in analyses:
        for file, rows in analysis.csv_files.items():
            rows.to_csv(folder / file, index=False)
    slices.to_csv(folder / "slices.csv", index=False)
    write_text(folder / Path(CLASSES).name, classes)
    write_text(folder / Path(REPORT).name, page)
    print(folder / Path(REPORT).name)
