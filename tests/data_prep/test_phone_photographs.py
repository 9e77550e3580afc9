"""The command `phone-photographs`, and the labels that were given to photographs of every source."""

import json

import pandas as pd
import pytest

from data_prep import street_photographs
from data_prep.phone_photographs import COARSE, LABELS
from data_prep.photographs import COLORS, TYPES
from data_prep.splits import hashed_split
from data_prep.tables import accepted_labels
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, ENCODERS
from fashion_model.images import open_image
from tests.conftest import PHONE
from tests.data_prep import conftest
from tests.data_prep.conftest import table_of

PUBLISHED = sorted(PHONE.glob("*.jpg"))
LABELED = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
WORN = pd.read_csv(street_photographs.LABELS, dtype=str, keep_default_na=False)
# Names that readers of the photographs gave and the catalogue has not, or not often enough to be a label.
UNLABELLED = {"Suits", "Other", "Rain Trousers"}


def prepare(source, output):
    conftest.prepare("phone-photographs", output, "--source", source)
    return table_of(output / "phone", "phone.csv")


def splits(table):
    return dict(zip(table["image"], table["split"], strict=True))


@pytest.fixture
def expected():
    """Two photographs of each of four contributors in each split: image → split, by all the labels."""
    table = LABELED.assign(split=[hashed_split(f"contributor {sender}") for sender in LABELED["sender"]])
    two = table.groupby("sender").head(2)
    two = two[two.groupby("sender")["sender"].transform("size") == 2].sort_values("sender", kind="stable")
    return splits(two.groupby("split").head(8))


def test_photographs_keep_their_labels(tmp_path):
    table = prepare(PHONE, tmp_path)
    assert {path.stem for path in (tmp_path / "phone" / "images").iterdir()} == set(table["image"])
    assert splits(table) == {path.stem: "test" for path in PUBLISHED}
    published = LABELED.set_index("image").loc[table["image"]]
    assert table.set_index("image").drop(columns="split").equals(published)


def test_contributors_are_in_one_split_and_duplicates_are_dropped(expected, capsys, tmp_path):
    """Pictures of the training split are kept rather than those of the others, and all within one split are.

    The tests have photographs of the test split only; they also serve as those of other contributors.
    """
    by_split = {s: [i for i, of in expected.items() if of == s] for s in ("train", "validation", "test")}
    pictures = {image: open_image(path) for image, path in zip(expected, PUBLISHED, strict=False)}
    for copy, number, original in (("test", 0, "train"), ("validation", 1, "train"), ("test", 2, "validation")):
        pictures[by_split[copy][number]] = pictures[by_split[original][number]].resize((150, 200))  # nearly the same
    pictures[by_split["train"][3]] = pictures[by_split["train"][2]].resize((150, 200))
    (tmp_path / "source").mkdir()
    for image, picture in pictures.items():
        picture.save(tmp_path / "source" / f"{image}.jpg", quality=92)
    dropped = {by_split["test"][0], by_split["validation"][1], by_split["test"][2]}
    kept = {image: split for image, split in expected.items() if image not in dropped}
    assert splits(prepare(tmp_path / "source", tmp_path / "out")) == kept
    printed = capsys.readouterr().out
    for split, count in (("train", 8), ("validation", 7), ("test", 6)):
        assert f"       {count}  {split}, by 4 contributors" in printed


def test_each_photograph_is_labeled_once():
    assert not LABELED["image"].duplicated().any()
    assert LABELED["image"].str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").all()
    assert set(LABELED["contributed_label"]) - {"Not sure", "Other"} == set(COARSE)


@pytest.mark.parametrize("column", ["baseColour", "articleType", "gender"])
def test_accepted_labels_are_those_of_the_default(column):
    known = set(json.loads((DEFAULT_CHECKPOINT / ENCODERS).read_text(encoding="utf-8"))[column].values())
    labelled = {"baseColour": "colors", "articleType": "product_types", "gender": "genders"}[column]
    constants = {"baseColour": COLORS.values(), "articleType": [*TYPES.values(), *map("|".join, COARSE.values())]}
    for cell in [*LABELED[labelled], *WORN[labelled], *constants.get(column, [])]:
        labels = accepted_labels(cell)
        assert (cell == "?") == (not labels)
        assert set(labels) - known <= UNLABELLED
        assert len(set(labels)) == len(labels), cell
