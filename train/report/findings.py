"""What the report shows of one attribute, as tables; `sections` describes it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from data_prep.splits import TRAIN
from fashion_model.attributes import Attribute
from train.report.answers import AttributeAnswers
from train.report.confusion import Confusion, class_report, confusions
from train.report.label_errors import contradictions, likely_label_errors


@dataclass(frozen=True)
class Findings:
    answers: AttributeAnswers
    classes: pd.DataFrame  # of confusion.class_report
    confusion: Confusion
    confusions: pd.DataFrame  # of confusion.confusions
    label_errors: pd.DataFrame  # of label_errors.likely_label_errors
    contradictions: pd.DataFrame  # of label_errors.contradictions
    pictures_with_several_ids: int

    @property
    def attribute(self) -> Attribute:
        return self.answers.attribute

    @classmethod
    def of(cls, answers: AttributeAnswers, table: pd.DataFrame) -> Findings:
        """`table`: the cleaned table, all splits."""
        column = answers.attribute.column
        label, answer = answers.rows["label"], answers.rows["answer"]
        return cls(
            answers,
            class_report(label, answer, table.loc[table["split"] == TRAIN, column]),
            Confusion.of(label, answer),
            confusions(label, answer),
            likely_label_errors(answers, table),
            *contradictions(table, column),
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """CSV file name → table."""
        name = self.attribute.name
        return {
            f"classes_{name}.csv": self.classes,
            f"confusions_{name}.csv": self.confusions,
            f"label_errors_{name}.csv": self.label_errors,
            f"same_picture_{name}.csv": self.contradictions,
        }
