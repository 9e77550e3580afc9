import shutil
import zipfile

import numpy as np
import pandas as pd

from data_prep.phone_photographs import COARSE, LABELS, drop_duplicates_across_splits
from data_prep.splits import hashed_split
from fashion_model.images import open_image
from tests.conftest import PHONE, contents
from tests.data_prep import conftest
from tests.data_prep.conftest import table_of

PUBLISHED = sorted(PHONE.glob("*.jpg"))


def labels():
    return pd.read_csv(LABELS, dtype=str, keep_default_na=False)


def prepare(source, output):
    conftest.prepare("phone-photographs", output, "--source", source)
    return table_of(output / "phone", "phone.csv")


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


def test_a_contributor_is_in_one_split(capsys, tmp_path):
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


def test_test_photographs_are_held_out_and_labeled(tmp_path, capsys):
    table = prepare(PHONE, tmp_path)
    assert set(splits(table).values()) == {"test"}
    assert {path.stem for path in (tmp_path / "phone" / "images").iterdir()} == set(table["image"])
    assert set(table["image"]) == {path.stem for path in PUBLISHED}
    published = labels().set_index("image").loc[table["image"]]
    assert table.set_index("image").drop(columns="split").equals(published)
    assert "passed over" not in capsys.readouterr().out


def test_originals_are_preferred_to_compressed_copies(tmp_path, capsys):
    """The published data set has both, the copies one folder further down."""
    used = PUBLISHED[:20]
    with zipfile.ZipFile(tmp_path / "clothing-dataset.zip", "w") as file:
        file.writestr("images.csv", "image,sender_id,label,kids\n")
        for path in used:
            file.write(path, f"images_original/{path.stem}.JPG")
            file.write(PUBLISHED[-1], f"full/images_compressed/{path.name}")
    shutil.copytree(PHONE, tmp_path / "plain", ignore=lambda _, names: set(names) - {path.name for path in used})
    prepare(tmp_path / "plain", tmp_path / "folder")
    prepare(tmp_path / "clothing-dataset.zip", tmp_path / "zip")
    assert "      21  files of " in capsys.readouterr().out
    assert contents(tmp_path / "zip") == contents(tmp_path / "folder")


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


def test_of_duplicates_the_training_one_is_kept():
    splits = ["train", "test", "validation", "test", "test", "train", "train"]
    table = pd.DataFrame({"image": list("abcdefg"), "split": splits})
    kept = drop_duplicates_across_splits(table, np.array([0, 0, 1, 1, 2, 3, 3]))
    assert kept["image"].tolist() == ["a", "c", "e", "f", "g"]


def test_an_unusable_source_is_refused(tmp_path, refused):
    other = source_of(tmp_path / "other", {"some-shirt": open_image(PUBLISHED[0])})
    broken = shutil.copytree(PHONE, tmp_path / "broken", ignore=lambda _, names: sorted(names)[5:])
    victim = sorted(broken.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:700])
    (tmp_path / "text.zip").write_text("no archive")
    for source, message in (
        (other, "holds none of the photographs that phone.csv has labels of"),
        (tmp_path / "text.zip", "is neither a folder nor a zip file"),
        (broken, f"{victim.name}: The image is damaged or cut off."),
    ):
        assert message in refused("phone-photographs", tmp_path / "out", "--source", source)
        assert not (tmp_path / "out" / "phone" / "phone.csv").exists()


def test_each_photograph_is_labeled_once():
    table = labels()
    assert not table["image"].duplicated().any()
    assert table["image"].str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").all()
    assert set(table["contributed_label"]) - set(COARSE) == {"Not sure", "Other"}
    assert set(COARSE) <= set(table["contributed_label"])
    assert (table[["colors", "product_types", "genders"]] != "").all(axis=None)
