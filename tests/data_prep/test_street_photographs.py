import io
import json
import shutil
import zipfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data_prep.street_photographs import SAME_SHOOT, STREET_SIDE
from fashion_model.images import open_image
from tests.conftest import STREET
from tests.data_prep import conftest
from tests.data_prep.conftest import table_of
from tests.data_prep.test_phone_photographs import WORN

NUMBERS = ["0183", "0699", "0730"]
MASK = "annotations/pixel-level/0699.mat"


def prepare(source, output):
    conftest.prepare("street-photographs", output, "--source", source)
    return table_of(output / "worn", "worn.csv")


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


def test_each_item_of_a_photograph_has_a_row_and_a_mask(prepared):
    table, folder = prepared
    expected = WORN[WORN["photo"].isin([f"{number}.jpg" for number in NUMBERS])].reset_index(drop=True)
    assert table.drop(columns=["shoot", "split"]).equals(expected)
    assert dict(zip(table["photo"], table["split"], strict=True)) == {
        "0183.jpg": "train",
        "0699.jpg": "test",
        "0730.jpg": "train",  # the same person as on 0183; its own number would be in validation
    }
    assert {path.name for path in (folder / "photographs").iterdir()} == set(table["photo"])
    tags = json.loads((folder / "tags.json").read_text(encoding="utf-8"))
    assert tags[:4] == ["null", "accessories", "bag", "belt"]
    for number in NUMBERS:
        values = np.asarray(Image.open(folder / "masks" / f"{number}.png"))
        assert (values == published_mask(number)).all()
        assert set(table["tag"][table["photo"] == f"{number}.jpg"]) <= {tags[value] for value in np.unique(values)}


def test_larger_photographs_shrink_with_their_masks(tmp_path, prepared):
    """The public repository, with originals, annotations of whole images, and photographs that have no labels."""
    with zipfile.ZipFile(tmp_path / "master.zip", "w") as archive:
        archive.write(STREET / "label_list.mat", "clothing-co-parsing-master/label_list.mat")
        archive.writestr("clothing-co-parsing-master/photos/1005.jpg", b"without a label")
        for number in NUMBERS:
            original = io.BytesIO()
            photograph = open_image(STREET / "photos" / f"{number}.jpg")
            photograph.resize((photograph.width * 4, photograph.height * 4)).save(original, "JPEG", quality=95)
            mask = np.kron(published_mask(number), np.ones((4, 4))).astype(float)  # numbers of MATLAB are doubles
            for name, data in (
                (f"photos/{number}.jpg", original.getvalue()),
                (f"annotations/pixel-level/{number}.mat", mask_file(mask)),
                (f"annotations/image-level/{number}.mat", mask_file(np.arange(3), "tags")),
            ):
                archive.writestr(f"clothing-co-parsing-master/{name}", data)
    assert prepare(tmp_path / "master.zip", tmp_path / "out").equals(prepared[0])
    for number in NUMBERS:
        photograph = open_image(tmp_path / "out" / "worn" / "photographs" / f"{number}.jpg")
        mask = Image.open(tmp_path / "out" / "worn" / "masks" / f"{number}.png")
        assert max(photograph.size) == STREET_SIDE
        assert mask.size == photograph.size
        assert set(np.unique(mask)) <= set(np.unique(published_mask(number)))  # no value between two tags
        small = np.asarray(mask.resize(published_mask(number).shape[::-1], Image.Resampling.NEAREST))
        assert (small == published_mask(number)).mean() > 0.97


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        (MASK, (STREET / MASK).read_bytes()[:400], "0699.mat has no groundtruth"),
        (MASK, None, "holds no pixel-level/0699.mat"),
        (MASK, mask_file(published_mask("0699").T), "0699.mat has 220×"),
        (MASK, mask_file(published_mask("0699") + np.uint8(59)), "is not a matrix of numbers from 0 to 58"),
        ("label_list.mat", b"MATLAB", "label_list.mat has no label_list"),
        ("photos", None, "that worn.csv has labels of"),
    ],
    ids=[str(number) for number in range(6)],  # the bytes of a MATLAB file have the time in them
)
def test_damaged_files_are_refused(file, data, message, refused, tmp_path):
    copied = shutil.copytree(STREET, tmp_path / "source")
    if data is None:
        (copied / file).rename(tmp_path / "elsewhere")
    else:
        (copied / file).write_bytes(data)
    assert message in refused("street-photographs", tmp_path / "out", "--source", copied)
    assert not (tmp_path / "out" / "worn" / "worn.csv").exists()


def test_boxes_are_parts_of_their_photographs():
    left, top, right, bottom = (WORN[side].astype(float) for side in ("left", "top", "right", "bottom"))
    assert ((left >= 0) & (left < right) & (right <= 1) & (top >= 0) & (top < bottom) & (bottom <= 1)).all()
    assert not WORN.duplicated().any()
    assert set(SAME_SHOOT) | set(SAME_SHOOT.values()) <= set(WORN["photo"].str.removesuffix(".jpg"))
