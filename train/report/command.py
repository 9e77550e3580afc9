"""Write a report on where a checkpoint fails.

    python -m train report --checkpoint runs/NAME --data data/ [--split validation] [--sharp images-480.zip …]

Writes report.html (one page that needs nothing else), report.md with its pictures in figures/, and the tables as CSV to
report/ in the checkpoint directory, where the app finds the page, or to --output. Rows whose picture the checkpoint was
trained on are left out. The page begins with what is measured on pictures like visitors' (train/visitors.py). With
--sharp the sharp photographs are one kind of picture among the slices and pairs. Three minutes for the test split on
two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from data_prep.splits import TEST, VALIDATION
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import REPORT, CheckpointError
from train.calibrate import Sample, reliability_diagram, samples_of
from train.dataset import DataError
from train.evaluate import add_common_arguments, prepare
from train.evaluation import Evaluation, pair_of
from train.pictures import label_targets
from train.report.answers import AttributeAnswers, answers_of, classes_of
from train.report.document import Report, pictures, to_markdown
from train.report.drawing import png
from train.report.findings import Findings
from train.report.page import to_html
from train.report.sections import at_a_glance, by_slice, of_attribute, pairs_table, unlikely_pairs
from train.report.slices import PICTURE, accuracies, accuracy_by_slice, right_answers
from train.versions import SharpPhotographs
from train.visitors import visitor_metrics

MARKDOWN = "report.md"
FIGURES = ("confusion", "confusion_zoom", "confusions", "reliability", "label_errors")  # of each attribute


class Measured:
    """Everything that is measured for a report, before anything is said of it."""

    def __init__(self, evaluation: Evaluation, sharp: SharpPhotographs | None):
        self.evaluation = evaluation
        self.thumbnails = evaluation.thumbnails()
        pooled = evaluation.features(self.thumbnails)
        self.metrics = {"visitors": visitor_metrics(evaluation), **evaluation.thumbnail_metrics(pooled)}
        answers = answers_of(evaluation, evaluation.rows, pooled)
        self.findings = [Findings.of(answers[name], evaluation.table) for name in NAMES]
        kinds = {"the catalogue's thumbnails": answers}
        encoders = evaluation.checkpoint.encoders
        samples = [samples_of(evaluation, "thumbnails", pooled, label_targets(evaluation.rows, encoders))]
        self.of_pairs = {"thumbnails": self.metrics["unlikely_pairs"]}
        pairs = {"thumbnails": pair_of(classes_of(answers))}
        if sharp is not None:
            rows = evaluation.rows_with(sharp)
            features = evaluation.sharp_features(sharp, rows)
            kinds["thumbnails of products with a sharp photograph"] = answers_of(
                evaluation, rows, pooled[evaluation.among(rows)]
            )
            kinds["their sharp photographs"] = answers_of(evaluation, rows, features)
            samples.append(samples_of(evaluation, "sharp photographs", features, label_targets(rows, encoders)))
            given = classes_of(kinds["their sharp photographs"])
            self.of_pairs["sharp photographs"] = evaluation.pair_figures(given, evaluation.targets(rows))
            pairs["sharp photographs"] = pair_of(given)
        self.pairs = pairs_table(evaluation.combinations.ranked(pairs))
        self.samples: dict[str, list[Sample]] = {
            name: [kind[name] for kind in samples if name in kind] for name in NAMES
        }
        self.slices = self._slices(answers, kinds)

    def _slices(
        self, answers: Mapping[str, AttributeAnswers], kinds: Mapping[str, Mapping[str, AttributeAnswers]]
    ) -> pd.DataFrame:
        parts = accuracy_by_slice(answers, self.evaluation.rows, self.evaluation.table)
        of_kinds = [accuracies(PICTURE, kind, right_answers(found)) for kind, found in kinds.items()]
        return pd.concat([parts, pd.DataFrame(of_kinds)], ignore_index=True)

    def document(self) -> Report:
        place = {index: i for i, index in enumerate(self.evaluation.rows.index)}
        config = self.evaluation.model.config
        sections = [
            at_a_glance(self.metrics, self.slices, self.findings),
            by_slice(self.slices),
            unlikely_pairs(self.of_pairs, self.pairs),
        ]
        for found in self.findings:
            name, title = found.attribute.name, found.attribute.title
            diagram = png(reliability_diagram(title, self.samples[name], config.temperatures[name]))
            sections.append(of_attribute(found, diagram, lambda index: self.thumbnails[place[index]]))
        return Report(f"Evaluation report: {self.evaluation.checkpoint.name}", sections)

    def write(self, folder: Path) -> None:
        """Everything into `folder`, which is made if need be."""
        document = self.document()
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name in NAMES:  # of an earlier report, which this one may have no picture instead of
            for kind in FIGURES:
                (folder / "figures" / f"{kind}_{name}.png").unlink(missing_ok=True)
        for section in document.sections:
            for picture in pictures(section.blocks):
                (folder / picture.file).write_bytes(picture.png)
        for found in self.findings:
            for file, table in found.tables().items():
                table.to_csv(folder / file, index=False)
        self.slices.to_csv(folder / "slices.csv", index=False)
        self.pairs.to_csv(folder / "unlikely_pairs.csv", index=False)
        (folder / MARKDOWN).write_text(to_markdown(document), encoding="utf-8")
        (folder / Path(REPORT).name).write_text(to_html(document), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train report", description=__doc__.split("\n")[0])
    parser.add_argument("--split", choices=(VALIDATION, TEST), default=TEST)
    add_common_arguments(parser)
    parser.add_argument("--output", type=Path, help="the folder to write to; report/ in the checkpoint directory")
    options = parser.parse_args(arguments)
    folder = options.output or options.checkpoint / Path(REPORT).parent
    try:
        evaluation, sharp = prepare(options, options.split)
        Measured(evaluation, sharp).write(folder)
    except (CheckpointError, DataError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(folder / Path(REPORT).name)
    return 0
