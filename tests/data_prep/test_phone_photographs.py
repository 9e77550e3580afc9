import json
import shutil
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep import phone_photographs
from data_prep.phone_photographs import COARSE, LABELS, MAX_SIDE, drop_duplicates_across_splits
from data_prep.splits import hashed_split
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, ENCODERS
from fashion_model.images import open_image
from tests.data_prep.conftest import PHONE

PUBLISHED = sorted(PHONE.glob("*.jpg"))
# Names that readers of the photographs gave and the catalogue has not, or not often enough to be a label.
UNLABELLED = {"Suits", "Other", "Rain Trousers"}
COLUMNS = {"color": "baseColour", "product_type": "articleType", "gender": "gender"}


def labels():
    return pd.read_csv(LABELS, dtype=str, keep_default_na=False)


def prepare(source, output):
    assert phone_photographs.main(["--source", str(source), "--output", str(output)]) == 0
    return pd.read_csv(output / "phone" / "phone.csv", dtype=str, keep_default_na=False)


def splits(table):
    return dict(zip(table["image"], table["split"], strict=True))


def source_of(folder, photographs):
    """A folder as published, of `photographs`: image → picture."""
    folder.mkdir()
    for image, picture in photographs.items():
        picture.save(folder / f"{image}.jpg", quality=92)
    return folder


def contributors_on_both_sides():
    """Two photographs of each of four contributors in each split: image → split, by all the labels."""
    table = labels()
    table["split"] = [hashed_split(f"contributor {sender}") for sender in table["sender"]]
    two = table.groupby("sender").head(2)
    two = two[two.groupby("sender")["sender"].transform("size") == 2].sort_values("sender", kind="stable")
    few = two.groupby("split").head(8)
    assert few["split"].value_counts().to_dict() == {"train": 8, "validation": 8, "test": 8}
    return dict(zip(few["image"], few["split"], strict=True))


def test_all_photographs_of_a_contributor_are_in_one_split(capsys, tmp_path):
    """The tests have photographs of the test split only; they also serve as those of other contributors."""
    expected = contributors_on_both_sides()
    pictures = [open_image(path) for path in PUBLISHED[: len(expected)]]
    table = prepare(source_of(tmp_path / "all", dict(zip(expected, pictures, strict=True))), tmp_path / "out")
    assert splits(table) == expected
    assert (table.groupby("sender")["split"].nunique() == 1).all()
    printed = capsys.readouterr().out
    for split in ("train", "validation", "test"):
        assert f"       8  {split}, by 4 contributors" in printed
    again = prepare(tmp_path / "all", tmp_path / "again")
    assert again.equals(table)
    some = dict(list(zip(expected, pictures, strict=True))[::3])
    assert splits(prepare(source_of(tmp_path / "some", some), tmp_path / "fewer")) == {i: expected[i] for i in some}


def test_the_shares_of_the_splits_are_about_those_asked_for():
    senders = set(labels()["sender"])
    share = Counter(hashed_split(f"contributor {sender}") for sender in senders)
    assert {split: count / len(senders) for split, count in share.items()} == pytest.approx(
        {"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.05
    )
    assert Counter(hashed_split(str(i), held_out=0.1) for i in range(5000))["test"] == pytest.approx(500, abs=75)


def test_the_split_of_a_contributor_never_changes():
    """Other splits would train on photographs that the embedded default is measured on."""
    first = {str(i): hashed_split(f"contributor {i}") for i in (8, 124, 148, 94, 43, 262)}
    assert first == {
        "8": "test",
        "124": "train",
        "148": "train",
        "94": "train",
        "43": "train",
        "262": "test",
    }


def test_all_photographs_of_the_tests_are_of_the_test_split_and_keep_their_labels(tmp_path):
    table = prepare(PHONE, tmp_path)
    assert set(splits(table).values()) == {"test"}
    assert set(table["image"]) == {path.stem for path in PUBLISHED}
    assert {path.stem for path in (tmp_path / "phone" / "images").iterdir()} == set(table["image"])
    published = labels().set_index("image").loc[table["image"]]
    assert table.set_index("image").drop(columns="split").equals(published)


def test_a_larger_original_is_shrunk_and_a_smaller_one_is_not_enlarged(tmp_path):
    large, small = PUBLISHED[:2]
    photograph = open_image(large)
    enlarged = photograph.resize((photograph.width * 4, photograph.height * 4), Image.Resampling.BICUBIC)
    source = source_of(tmp_path / "source", {large.stem: enlarged, small.stem: open_image(small)})
    prepare(source, tmp_path / "out")
    images = tmp_path / "out" / "phone" / "images"
    shrunk = open_image(images / large.name)
    assert max(shrunk.size) == MAX_SIDE
    assert shrunk.width / shrunk.height == pytest.approx(photograph.width / photograph.height, rel=0.01)
    difference = np.asarray(shrunk.resize(photograph.size)).astype(float) - np.asarray(photograph)
    assert np.abs(difference).mean() < 5
    assert open_image(images / small.name).size == open_image(small).size


@pytest.mark.parametrize("place", ["images_original/{}", "clothing-dataset-full/images_compressed/{}"])
def test_a_zip_gives_the_same_as_the_folder_in_any_subfolder(tmp_path, place):
    used = PUBLISHED[:20]
    nested = tmp_path / "nested"
    archive = tmp_path / "clothing-dataset.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images.csv", "image,sender_id,label,kids\n")
        for path in used:
            copy = nested / place.format(path.name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            file.write(path, place.format(path.name))
    expected = prepare(nested, tmp_path / "folder")
    assert len(expected) == len(used)
    assert prepare(archive, tmp_path / "zip").equals(expected)
    for path in used:
        folder, zipped = (tmp_path / kind / "phone" / "images" / path.name for kind in ("folder", "zip"))
        assert folder.read_bytes() == zipped.read_bytes()


def test_of_files_with_one_name_that_with_the_fewest_parents_is_used(tmp_path):
    """The published data set has originals and compressed copies; which is used must not depend on the order."""
    name = PUBLISHED[0].name
    for folder, color in (("b", "red"), ("a/deeper", "blue")):
        (tmp_path / "source" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40), color).save(tmp_path / "source" / folder / name)
    prepare(tmp_path / "source", tmp_path / "out")
    red, _, blue = open_image(tmp_path / "out" / "phone" / "images" / name).getpixel((20, 20))
    assert red > 200 > blue


def test_duplicates_across_splits_are_dropped(tmp_path):
    expected = contributors_on_both_sides()
    by_split = {s: [i for i, of in expected.items() if of == s] for s in ("train", "validation", "test")}
    pictures = {image: open_image(path) for image, path in zip(expected, PUBLISHED, strict=False)}
    # Resaved at another size: nearly the same pixels.
    pictures[by_split["test"][0]] = pictures[by_split["train"][0]].resize((150, 200))
    pictures[by_split["validation"][1]] = pictures[by_split["train"][1]].resize((150, 200))
    pictures[by_split["test"][2]] = pictures[by_split["validation"][2]].resize((150, 200))
    pictures[by_split["train"][3]] = pictures[by_split["train"][2]].resize((150, 200))
    table = prepare(source_of(tmp_path / "source", pictures), tmp_path / "out")
    dropped = {by_split["test"][0], by_split["validation"][1], by_split["test"][2]}
    assert set(expected) - set(table["image"]) == dropped
    assert list(table.index) == list(range(len(table)))


def test_of_duplicates_across_splits_train_is_kept_before_validation_before_test():
    splits = ["train", "test", "validation", "test", "test", "train", "train"]
    table = pd.DataFrame({"image": list("abcdefg"), "split": splits})
    kept = drop_duplicates_across_splits(table, np.array([0, 0, 1, 1, 2, 3, 3]))
    assert kept["image"].tolist() == ["a", "c", "e", "f", "g"]


def test_an_unusable_source_is_an_error(tmp_path, capsys):
    other, text = tmp_path / "other", tmp_path / "text.zip"
    source_of(other, {"some-shirt": open_image(PUBLISHED[0])})
    text.write_text("no archive")
    broken = tmp_path / "broken"
    shutil.copytree(PHONE, broken, ignore=lambda _, names: sorted(names)[5:])
    victim = sorted(broken.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:700])
    for source, message in (
        (other, "holds none of the photographs that phone.csv has labels of"),
        (text, "is neither a folder nor a zip file"),
        (tmp_path / "nowhere", "is neither a folder nor a zip file"),
        (broken, f"{victim.name}: The image is damaged or cut off."),
    ):
        assert phone_photographs.main(["--source", str(source), "--output", str(tmp_path / "out")]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"phone_photographs: {source}")
        assert message in printed
        assert "Traceback" not in printed
        assert not (tmp_path / "out" / "phone" / "phone.csv").exists()


def test_a_damaged_member_of_a_zip_is_an_error(tmp_path, capsys):
    for way, number in ((zipfile.ZIP_STORED, 0), (zipfile.ZIP_DEFLATED, 1)):
        archive = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(archive, "w", way) as file:
            file.write(PUBLISHED[0], f"images/{PUBLISHED[0].name}")
        stored = bytearray(archive.read_bytes())
        stored[200:260] = bytes(60)
        archive.write_bytes(stored)
        assert phone_photographs.main(["--source", str(archive), "--output", str(tmp_path / "out")]) == 2
        assert f"{archive}: {PUBLISHED[0].name}: " in capsys.readouterr().err


def test_accepted_labels_are_labels_of_the_embedded_default():
    known = {
        column: set(found.values())
        for column, found in json.loads((DEFAULT_CHECKPOINT / ENCODERS).read_text(encoding="utf-8")).items()
    }
    table = labels()
    for attribute, column in {"color": "colors", "product_type": "product_types", "gender": "genders"}.items():
        for names in table[column]:
            unknown = [name for name in names.split("|") if name not in known[COLUMNS[attribute]]]
            assert names == "?" or set(unknown) <= UNLABELLED, (attribute, names)
            assert len(set(names.split("|"))) == len(names.split("|")), names
    for accepted in COARSE.values():
        assert set(accepted) - known["articleType"] <= UNLABELLED
        assert len(set(accepted)) == len(accepted)


def test_each_photograph_is_labeled_once_and_has_a_known_coarse_label():
    table = labels()
    assert not table["image"].duplicated().any()
    assert table["image"].str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").all()
    assert set(table["contributed_label"]) - set(COARSE) == {"Not sure", "Other"}
    assert set(COARSE) <= set(table["contributed_label"])
    assert (table[["colors", "product_types", "genders"]] != "").all(axis=None)
