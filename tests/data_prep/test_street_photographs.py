import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from data_prep.street_photographs import LABELS, SAME_SHOOT, STREET_SIDE
from fashion_model.images import open_image
from tests.conftest import STREET
from tests.data_prep import conftest
from tests.data_prep.conftest import table_of

NUMBERS = ["0183", "0699", "0730"]
MASK = "annotations/pixel-level/0699.mat"


def prepare(source, output):
    conftest.prepare("street-photographs", output, "--source", source)
    return table_of(output / "worn", "worn.csv")


def labels():
    return pd.read_csv(LABELS, dtype=str, keep_default_na=False)


def mask_file(matrix, variable="groundtruth"):
    file = io.BytesIO()
    scipy.io.savemat(file, {variable: matrix}, do_compression=True)
    return file.getvalue()


def published_mask(number):
    return scipy.io.loadmat(STREET / "annotations" / "pixel-level" / f"{number}.mat")["groundtruth"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    return prepare(STREET, folder), folder / "worn"


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(STREET, tmp_path / "source")


def test_each_item_of_a_photograph_has_a_row(prepared):
    table, folder = prepared
    expected = labels()
    expected = expected[expected["photo"].isin([f"{number}.jpg" for number in NUMBERS])].reset_index(drop=True)
    assert table.drop(columns=["shoot", "split"]).equals(expected)
    assert dict(zip(table["photo"], table["split"], strict=True)) == {
        "0183.jpg": "train",
        "0699.jpg": "test",
        "0730.jpg": "train",  # the same person at the same place as 0183; its own number would be in validation
    }
    assert {path.name for path in (folder / "photographs").iterdir()} == set(table["photo"])


def test_masks_have_the_tags_of_the_items(prepared):
    table, folder = prepared
    tags = json.loads((folder / "tags.json").read_text(encoding="utf-8"))
    assert tags[:4] == ["null", "accessories", "bag", "belt"]
    for number in NUMBERS:
        with (
            Image.open(folder / "masks" / f"{number}.png") as mask,
            open_image(STREET / f"photos/{number}.jpg") as photo,
        ):
            assert mask.size == photo.size
            values = np.asarray(mask)
        assert (values == published_mask(number)).all()
        assert set(table["tag"][table["photo"] == f"{number}.jpg"]) <= {tags[value] for value in np.unique(values)}


@pytest.mark.parametrize("zipped", [False, True])
def test_larger_photographs_are_shrunk_with_their_masks(zipped, tmp_path, prepared):
    """The public repository, with originals, annotations of whole images, and photographs that have no labels."""
    top = tmp_path / "clothing-co-parsing-master"
    files = {"label_list.mat": (STREET / "label_list.mat").read_bytes(), "photos/1005.jpg": b"without a label"}
    for number in NUMBERS:
        original = io.BytesIO()
        photograph = open_image(STREET / "photos" / f"{number}.jpg")
        photograph.resize((photograph.width * 4, photograph.height * 4)).save(original, "JPEG", quality=95)
        mask = np.kron(published_mask(number), np.ones((4, 4))).astype(float)  # numbers of MATLAB are doubles
        files[f"photos/{number}.jpg"] = original.getvalue()
        files[f"annotations/pixel-level/{number}.mat"] = mask_file(mask)
        files[f"annotations/image-level/{number}.mat"] = mask_file(np.arange(3), "tags")
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    source = tmp_path / "master.zip" if zipped else top
    if zipped:
        with zipfile.ZipFile(source, "w") as archive:
            for name in files:
                archive.write(top / name, f"{top.name}/{name}")
    assert prepare(source, tmp_path / "out").equals(prepared[0])
    for number in NUMBERS:
        photograph = open_image(tmp_path / "out" / "worn" / "photographs" / f"{number}.jpg")
        with Image.open(tmp_path / "out" / "worn" / "masks" / f"{number}.png") as mask:
            assert max(photograph.size) == STREET_SIDE
            assert mask.size == photograph.size
            assert set(np.unique(mask)) <= set(np.unique(published_mask(number)))  # no value between two tags
            small = np.asarray(mask.resize(published_mask(number).shape[::-1], Image.Resampling.NEAREST))
        assert (small == published_mask(number)).mean() > 0.97


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        (MASK, b"", "0699.mat has no groundtruth"),
        (MASK, (STREET / MASK).read_bytes()[:400], "0699.mat has no groundtruth"),
        (MASK, (STREET / MASK).read_bytes()[:300] + bytes(200), "0699.mat has no groundtruth"),
        (MASK, mask_file(np.zeros((3, 2)), "tags"), "0699.mat has no groundtruth"),
        (MASK, None, "holds no pixel-level/0699.mat"),
        (MASK, mask_file(published_mask("0699").T), "0699.mat has 220×"),
        (MASK, mask_file(published_mask("0699") + np.uint8(59)), "is not a matrix of numbers from 0 to 58"),
        (MASK, mask_file(published_mask("0699") - 1.0), "is not a matrix of numbers from 0 to 58"),
        (MASK, mask_file(published_mask("0699") * np.nan), "is not a matrix of numbers from 0 to 58"),
        (MASK, mask_file(published_mask("0699")[..., None].repeat(3, 2)), "is not a matrix of numbers"),
        (MASK, mask_file("text"), "is not a matrix of numbers"),
        ("label_list.mat", b"MATLAB", "label_list.mat has no label_list"),
        ("photos/0699.jpg", b"", "photos/0699.jpg: The file is empty."),
    ],
    ids=[str(number) for number in range(13)],  # the bytes of a MATLAB file have the time in them
)
def test_damaged_files_are_refused(file, data, message, copied, refused, tmp_path):
    if data is None:
        (copied / file).unlink()
    else:
        (copied / file).write_bytes(data)
    assert message in refused("street-photographs", tmp_path / "out", "--source", copied)
    assert not (tmp_path / "out" / "worn" / "worn.csv").exists()


def test_a_source_without_labeled_photographs_is_refused(refused, tmp_path):
    shutil.copytree(STREET / "annotations", tmp_path / "source")
    assert "that worn.csv has labels of" in refused(
        "street-photographs", tmp_path / "out", "--source", tmp_path / "source"
    )


def test_boxes_are_parts_of_their_photographs():
    table = labels()
    left, top, right, bottom = (table[side].astype(float) for side in ("left", "top", "right", "bottom"))
    assert ((left >= 0) & (left < right) & (right <= 1) & (top >= 0) & (top < bottom) & (bottom <= 1)).all()
    assert not table.duplicated().any()
    numbers = set(table["photo"].str.removesuffix(".jpg"))
    assert set(SAME_SHOOT) | set(SAME_SHOOT.values()) <= numbers
