"""The labels that a multimodal model gave, and those that published types and colors are mapped to."""

import json

import pandas as pd
import pytest

from data_prep import phone_photographs, street_photographs
from data_prep.phone_photographs import COARSE
from data_prep.photographs import COLORS, TYPES
from data_prep.tables import accepted_labels
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, ENCODERS

KNOWN = json.loads((DEFAULT_CHECKPOINT / ENCODERS).read_text(encoding="utf-8"))
# Names that readers of the photographs gave and the catalogue has not, or not often enough to be a label.
UNLABELLED = {"Suits", "Other", "Rain Trousers"}
PHONE, WORN = (
    pd.read_csv(module.LABELS, dtype=str, keep_default_na=False) for module in (phone_photographs, street_photographs)
)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        *(
            (table[name], column)
            for table in (PHONE, WORN)
            for name, column in (("colors", "baseColour"), ("product_types", "articleType"), ("genders", "gender"))
        ),
        (TYPES.values(), "articleType"),
        (COLORS.values(), "baseColour"),
        (["|".join(names) for names in COARSE.values()], "articleType"),
    ],
)
def test_accepted_labels_are_those_of_the_default(cells, column):
    for cell in cells:
        labels = accepted_labels(cell)
        assert (cell == "?") == (not labels)
        assert set(labels) - set(KNOWN[column].values()) <= UNLABELLED
        assert len(set(labels)) == len(labels), cell
