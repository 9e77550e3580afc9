"""The command `phone-photographs`, and the labels that were given to photographs of every source."""

import json
import shutil
import zipfile

import pandas as pd
import pytest

from data_prep import street_photographs
from data_prep.phone_photographs import COARSE, LABELS
from data_prep.photographs import COLORS, TYPES
from data_prep.splits import hashed_split
from data_prep.tables import accepted_labels
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, ENCODERS
from fashion_model.images import open_image
from tests.conftest import PHONE, contents
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


def source_of(folder, photographs):
    """A folder as published, of `photographs`: image → picture."""
    folder.mkdir()
    for image, picture in photographs.items():
        picture.save(folder / f"{image}.jpg", quality=92)
    return folder


def test_a_contributor_is_in_one_split(expected, capsys, tmp_path):
    """The tests have photographs of the test split only; they also serve as those of other contributors."""
    pictures = dict(zip(expected, map(open_image, PUBLISHED), strict=False))
    assert splits(prepare(source_of(tmp_path / "all", pictures), tmp_path / "out")) == expected
    printed = capsys.readouterr().out
    assert all(f"       8  {split}, by 4 contributors" in printed for split in ("train", "validation", "test"))


def test_photographs_keep_their_labels(tmp_path):
    table = prepare(PHONE, tmp_path)
    assert {path.stem for path in (tmp_path / "phone" / "images").iterdir()} == set(table["image"])
    assert splits(table) == {path.stem: "test" for path in PUBLISHED}
    published = LABELED.set_index("image").loc[table["image"]]
    assert table.set_index("image").drop(columns="split").equals(published)


def test_originals_are_preferred_to_compressed_copies(tmp_path):
    """The published data set has both, the copies one folder further down."""
    used = PUBLISHED[:20]
    with zipfile.ZipFile(tmp_path / "clothing-dataset.zip", "w") as file:
        for path in used:
            file.write(path, f"images_original/{path.stem}.JPG")
            file.write(PUBLISHED[-1], f"full/images_compressed/{path.name}")
    shutil.copytree(PHONE, tmp_path / "plain", ignore=lambda _, names: set(names) - {path.name for path in used})
    prepare(tmp_path / "plain", tmp_path / "folder")
    prepare(tmp_path / "clothing-dataset.zip", tmp_path / "zip")
    assert contents(tmp_path / "zip") == contents(tmp_path / "folder")


def test_duplicates_across_splits_are_dropped(expected, tmp_path):
    """Pictures of the training split are kept rather than those of the others, and all within one split are."""
    by_split = {s: [i for i, of in expected.items() if of == s] for s in ("train", "validation", "test")}
    pictures = {image: open_image(path) for image, path in zip(expected, PUBLISHED, strict=False)}
    for copy, number, original in (("test", 0, "train"), ("validation", 1, "train"), ("test", 2, "validation")):
        pictures[by_split[copy][number]] = pictures[by_split[original][number]].resize((150, 200))  # nearly the same
    pictures[by_split["train"][3]] = pictures[by_split["train"][2]].resize((150, 200))
    table = prepare(source_of(tmp_path / "source", pictures), tmp_path / "out")
    dropped = {by_split["test"][0], by_split["validation"][1], by_split["test"][2]}
    assert set(expected) - set(table["image"]) == dropped


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
