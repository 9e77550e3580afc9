import shutil

import numpy as np
import pytest
from PIL import Image

from data_prep.archive import PREPARED_SIDE
from data_prep.photographs import HELD_OUT_TYPES, restore_aspect_ratio
from data_prep.splits import hashed_split
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.images import open_image
from tests.conftest import BACKGROUNDS, EVERYDAY
from tests.data_prep import conftest
from tests.data_prep.conftest import table_of

EXAMPLES = DEFAULT_CHECKPOINT.parent / "examples"
BAG, SHIRT = EXAMPLES / "2650.jpg", EXAMPLES / "2221.jpg"
ON_MODEL, OTHER_SOURCES = "file,type,color,gender\n", "image,category,gender,source\n"


def prepare(output, *options):
    conftest.prepare("photographs", output, *options)


@pytest.fixture
def source(tmp_path):
    """An empty folder."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write_table(folder, name, header, rows):
    """A table as published, whose photographs are all one shirt's."""
    (folder / name).write_text(header + "".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    for file, *_ in rows:
        (folder / "images").mkdir(exist_ok=True)
        shutil.copyfile(SHIRT, folder / "images" / file)


def test_the_aspect_ratio_of_square_images_is_restored(source, tmp_path):
    original = open_image(BAG)
    assert original.width / original.height == 0.75
    original.resize((480, 480)).save(source / "2650.jpg", quality=95)
    original.save(source / "2651.JPEG", "JPEG", quality=95)
    original.resize((90, 120)).save(source / "2652", "JPEG")
    prepare(tmp_path / "out", "--high-resolution", source)
    images = tmp_path / "out" / "high_resolution" / "images"
    squashed, kept, small = (open_image(images / f"{i}.jpg") for i in (2650, 2651, 2652))
    assert squashed.size == kept.size == (300, PREPARED_SIDE)
    assert small.size == (90, 120)
    assert np.abs(np.asarray(squashed).astype(float) - np.asarray(kept)).mean() < 2
    assert restore_aspect_ratio(Image.new("RGB", (401, 400))).size == (401, 400)


def test_a_product_is_read_from_its_first_source(tmp_path, capsys):
    for name, products, color in (("first", "12", "red"), ("second", "23", "blue"), ("third", "3", "green")):
        (tmp_path / name / "images").mkdir(parents=True)
        for product in products:
            Image.new("RGB", (60, 80), color).save(tmp_path / name / "images" / f"0{product}.jpg")
    shutil.copyfile(BAG, tmp_path / "first" / "images" / "cover.jpg")  # no product
    prepare(tmp_path / "out", "--high-resolution", *(tmp_path / name for name in ("first", "second", "third")))
    printed = capsys.readouterr().out
    assert "high_resolution: 2 first, 1 second\n" in printed
    assert f"       1  files of {tmp_path / 'first'} passed over: images/cover.jpg" in printed
    images = tmp_path / "out" / "high_resolution" / "images"
    assert {path.stem for path in images.iterdir()} == {"01", "02", "03"}
    colors = [np.asarray(open_image(images / f"{i}.jpg")).mean(axis=(0, 1)).argmax() for i in ("01", "02", "03")]
    assert colors == [0, 0, 2]


def test_all_images_of_a_style_are_in_one_split(source, tmp_path):
    rows = [
        (f"{style}{number:02}-{color}-{view}.jpg", kind, color, gender)
        for style, kind, gender in (("mh", "Sweatshirts", "Men"), ("b", "Bags", ""), ("w", "Watches", ""))
        for number in range(12)
        for color in ("black", "mauve")
        for view in ("0", "0_alt1")
    ]
    write_table(source, "on-model.csv", ON_MODEL, rows)
    prepare(tmp_path / "out", "--on-model", source)
    table = table_of(tmp_path / "out" / "on_model", "on_model.csv")
    assert list(table) == ["image", "style", "type", "colors", "product_types", "genders", "split"]
    assert {path.name for path in (tmp_path / "out" / "on_model" / "images").iterdir()} == set(table["image"])
    worn = table[~table["type"].isin(HELD_OUT_TYPES)]
    assert set(table["split"].drop(worn.index)) == {"test"}
    assert worn["split"].tolist() == [hashed_split(f"style {style}", held_out=0.1) for style in worn["style"]]
    assert set(worn["split"]) > {"train"}
    assert set(worn["genders"]) == {"Men"}
    # Nobody has said which names are right for mauve.
    for color, accepted in (("black", {"Black|Charcoal"}), ("mauve", {"?"})):
        assert set(table["colors"][table["image"].str.contains(color)]) == accepted


def test_other_sources_are_for_validation_only(source, tmp_path, capsys):
    rows = [("000.jpg", "Casual Shoes", "Men", "a/b"), ("001.jpg", "", "-", "a/b"), ("002.jpg", "Caps", "", "c/d@1^")]
    write_table(source, "other-sources.csv", OTHER_SOURCES, rows)
    prepare(tmp_path / "out", "--other-sources", source)
    assert capsys.readouterr().out == "other_sources: 3 validation\n"
    folder = tmp_path / "out" / "other_sources"
    assert (folder / "other_sources.csv").read_text(encoding="utf-8").splitlines() == [
        "image,source,product_types,genders,split",
        "000.jpg,a/b,Casual Shoes,Men,validation",
        "001.jpg,a/b,,?,validation",
        "002.jpg,c/d@1^,Caps,?,validation",
    ]
    assert max(open_image(folder / "images" / "002.jpg").size) <= PREPARED_SIDE


def test_consecutive_images_are_in_one_split(source, tmp_path):
    picture = Image.new("RGB", (40, 40), "gray")
    numbers = [[20 * block + i for i in (0, 1, 7, 19)] for block in range(60)]
    for number in (number for group in numbers for number in group):
        picture.save(source / f"shelf-{number:04}.jpg")
    prepare(tmp_path / "out", "--everyday", source)
    split = {path.name: path.parent.name for path in (tmp_path / "out" / "everyday").glob("*/*.jpg")}
    assert len(split) == 240
    of_groups = [{split[f"shelf-{number:04}.jpg"] for number in group} for group in numbers]
    assert all(len(splits) == 1 for splits in of_groups)
    assert set().union(*of_groups) == {"train", "validation", "test"}


def test_the_splits_of_published_pictures_never_change(tmp_path):
    """A split that moved would measure the default on what it was trained on."""
    prepare(tmp_path, "--everyday", EVERYDAY, "--backgrounds", BACKGROUNDS)
    by_split = {
        kind: {split: {path.stem for path in (tmp_path / kind / split).glob("*")} for split in splits}
        for kind, splits in {"everyday": ["test"], "backgrounds": ["train", "validation", "test"]}.items()
    }
    assert by_split == {
        "everyday": {"test": {path.stem for path in EVERYDAY.iterdir()}},
        "backgrounds": {
            "train": {"Granite_008", "PavingStones_064", "Planks_048", "Plastic_018"},
            "validation": {"Rock_054", "Tiles_055"},
            "test": {"Metal_054", "Tiles_018", "Wood_093", "Wood_095"},
        },
    }


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (1, 1)])
def test_thin_photographs_are_prepared(size, source, tmp_path):
    Image.new("RGB", size, "red").save(source / "1.jpg")
    prepare(tmp_path / "out", "--everyday", source, "--high-resolution", source)
    prepared = open_image(next((tmp_path / "out" / "everyday").glob("*/1.jpg")))
    assert prepared.size == tuple(min(side, PREPARED_SIDE) for side in size)


@pytest.mark.parametrize(
    ("option", "files", "message"),
    [
        ("--high-resolution", {"bag.jpg": b""}, "holds no <id>.jpg"),
        ("--high-resolution", {"1.jpg": b""}, "1.jpg: The file is empty."),
        ("--everyday", {"notes.txt": b"none"}, "holds no images"),
        ("--backgrounds", {"a-1.jpg": b"no"}, "a-1.jpg: The file is not an image"),
        ("--on-model", {"bag.jpg": b""}, "holds no on-model.csv"),
        ("--on-model", {"on-model.csv": b""}, "on-model.csv lacks the columns"),
        ("--on-model", {"on-model.csv": b"a,b\n1,2\n"}, "lacks the columns ['file', 'type', 'color', 'gender']"),
        (
            "--on-model",
            {"a.jpg": b"", "on-model.csv": b"file,type,color,gender\na.jpg,Shawls,red,\n"},
            "on-model.csv, row 2: 'Shawls' is none of ['Bags'",
        ),
        (
            "--on-model",
            {"on-model.csv": b"file,type,color,gender\na-1.jpg,Bags,red,\n"},
            "on-model.csv, row 2: the photograph 'a-1.jpg' is missing",
        ),
        (
            "--other-sources",
            {"a.jpg": b"", "other-sources.csv": b"image;category;gender;source\na.jpg;;-;x\nA/a.jpg;;-;x\n"},
            "other-sources.csv, row 3: the photograph 'A/a.jpg' is named twice",
        ),
    ],
)
def test_an_unusable_source_is_refused(option, files, message, source, tmp_path, refused):
    for name, data in files.items():
        (source / name).write_bytes(data)
    sentence = refused("photographs", tmp_path / "out", option, source)
    assert sentence.startswith(f"photographs: {source}")
    assert message in sentence


def test_a_command_without_a_source_is_refused(tmp_path, refused):
    assert "no source is given" in refused("photographs", tmp_path)
