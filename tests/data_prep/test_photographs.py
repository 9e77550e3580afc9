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
from tests.data_prep.conftest import prepare, table_of

EXAMPLES = DEFAULT_CHECKPOINT.parent / "examples"
BAG, SHIRT = EXAMPLES / "2650.jpg", EXAMPLES / "7092.jpg"
ON_MODEL, OTHER_SOURCES = "file,type,color,gender\n", "image,category,gender,source\n"


@pytest.fixture
def source(tmp_path):
    """An empty folder."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write_table(folder, name, header, rows):
    """A table as published, whose photographs are all one shirt's."""
    (folder / name).write_text(header + "".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    for file, *_ in rows:
        shutil.copyfile(SHIRT, folder / file)


def test_square_images_get_their_aspect_ratio_back(source, tmp_path):
    original = open_image(BAG)
    assert original.width / original.height == 0.75
    original.resize((480, 480)).save(source / "2650.jpg", quality=95)
    original.save(source / "2651.JPEG", "JPEG", quality=95)
    original.resize((90, 120)).save(source / "2652", "JPEG")
    prepare("photographs", tmp_path / "out", "--high-resolution", source)
    images = tmp_path / "out" / "high_resolution" / "images"
    squashed, kept, small = (open_image(images / f"{i}.jpg") for i in (2650, 2651, 2652))
    assert squashed.size == kept.size == (300, PREPARED_SIDE)
    assert small.size == (90, 120)
    assert np.abs(np.asarray(squashed).astype(float) - np.asarray(kept)).mean() < 2
    assert restore_aspect_ratio(Image.new("RGB", (401, 400))).size == (401, 400)


def test_all_images_of_a_style_are_in_one_split(source, tmp_path):
    rows = [
        (f"{style}{number:02}-{color}-{view}.jpg", kind, color, gender)
        for style, kind, gender in (("mh", "Sweatshirts", "Men"), ("b", "Bags", ""), ("w", "Watches", ""))
        for number in range(12)
        for color in ("black", "mauve")
        for view in ("0", "0_alt1")
    ]
    write_table(source, "on-model.csv", ON_MODEL, rows)
    prepare("photographs", tmp_path / "out", "--on-model", source)
    table = table_of(tmp_path / "out" / "on_model", "on_model.csv")
    assert {path.name for path in (tmp_path / "out" / "on_model" / "images").iterdir()} == set(table["image"])
    worn = table[~table["type"].isin(HELD_OUT_TYPES)]
    assert set(table["split"].drop(worn.index)) == {"test"}
    assert worn["split"].tolist() == [hashed_split(f"style {style}", held_out=0.1) for style in worn["style"]]
    assert set(worn["split"]) > {"train"}
    assert set(worn["genders"]) == {"Men"}
    colors = zip(table["image"].str.split("-").str[1], table["colors"], strict=True)
    assert set(colors) == {("black", "Black|Charcoal"), ("mauve", "?")}  # nobody has said what is right for mauve


def test_other_sources_are_for_validation_only(source, tmp_path):
    rows = [("000.jpg", "Casual Shoes", "Men", "a/b"), ("001.jpg", "", "-", "a/b"), ("002.jpg", "Caps", "", "c/d@1^")]
    write_table(source, "other-sources.csv", OTHER_SOURCES, rows)
    prepare("photographs", tmp_path / "out", "--other-sources", source)
    table = tmp_path / "out" / "other_sources" / "other_sources.csv"
    assert table.read_text(encoding="utf-8").splitlines() == [
        "image,source,product_types,genders,split",
        "000.jpg,a/b,Casual Shoes,Men,validation",
        "001.jpg,a/b,,?,validation",
        "002.jpg,c/d@1^,Caps,?,validation",
    ]


def test_consecutive_images_are_in_one_split(source, tmp_path):
    picture = Image.new("RGB", (900, 1), "gray")  # thin photographs are shrunk to at least one pixel
    numbers = [[20 * block + i for i in (0, 19)] for block in range(60)]
    for number in (number for group in numbers for number in group):
        picture.save(source / f"shelf-{number:04}.jpg")
    prepare("photographs", tmp_path / "out", "--everyday", source)
    paths = {path.name: path for path in (tmp_path / "out" / "everyday").glob("*/*.jpg")}
    of_groups = [{paths[f"shelf-{number:04}.jpg"].parent.name for number in group} for group in numbers]
    assert all(len(splits) == 1 for splits in of_groups)
    assert set().union(*of_groups) == {"train", "validation", "test"}
    assert open_image(paths["shelf-0000.jpg"]).size == (PREPARED_SIDE, 1)


def test_splits_of_published_pictures_never_change(tmp_path):
    """A split that moved would measure the default on what it was trained on."""
    prepare("photographs", tmp_path, "--everyday", EVERYDAY, "--backgrounds", BACKGROUNDS)
    assert {path.stem for path in tmp_path.glob("everyday/test/*")} == {path.stem for path in EVERYDAY.iterdir()}
    backgrounds = {"/".join(path.with_suffix("").parts[-2:]) for path in tmp_path.glob("backgrounds/*/*")}
    assert backgrounds == {
        *("train/Granite_008", "train/PavingStones_064", "train/Planks_048", "train/Plastic_018"),
        *("validation/Rock_054", "validation/Tiles_055"),
        *("test/Metal_054", "test/Tiles_018", "test/Wood_093", "test/Wood_095"),
    }


@pytest.mark.parametrize(
    ("option", "files", "message"),
    [
        ("--high-resolution", {"bag.jpg": ""}, "holds no <id>.jpg"),
        ("--high-resolution", {"1.jpg": ""}, "1.jpg: The file is empty."),
        ("--everyday", {"notes.txt": "none"}, "holds no images"),
        ("--on-model", {"on-model.csv": "a,b\n1,2\n"}, "lacks the columns ['file', 'type', 'color', 'gender']"),
        ("--on-model", {"a.jpg": "", "on-model.csv": f"{ON_MODEL}a.jpg,Shawls,red,\n"}, "row 2: 'Shawls' is none of ["),
        ("--on-model", {"on-model.csv": f"{ON_MODEL}1.jpg,Bags,red,\n"}, "row 2: the photograph '1.jpg' is missing"),
    ],
)
def test_an_unusable_source_is_refused(option, files, message, source, tmp_path, refused):
    for name, text in files.items():
        (source / name).write_text(text)
    sentence = refused("photographs", tmp_path / "out", option, source)
    assert sentence.startswith(f"photographs: {source}")
    assert message in sentence
    assert "no source is given" in refused("photographs", tmp_path)
