import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep import photographs
from data_prep.photographs import COLORS, HELD_OUT_TYPES, MAX_SIDE, TYPES
from data_prep.splits import hashed_split
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, ENCODERS
from fashion_model.images import open_image
from tests.data_prep.conftest import BACKGROUNDS, EVERYDAY

EXAMPLES = DEFAULT_CHECKPOINT.parent / "examples"
BAG, SHOE = EXAMPLES / "2650.jpg", EXAMPLES / "2498.jpg"


def prepare(output, *options):
    assert photographs.main(["--output", str(output), *map(str, options)]) == 0


def on_model(folder, rows):
    """What --on-model reads: `rows` of file, type, color and gender, whose pictures are one shirt's."""
    pd.DataFrame(rows, columns=["file", "type", "color", "gender"]).to_csv(folder / "on-model.csv", index=False)
    for file, *_ in rows:
        (folder / "images").mkdir(exist_ok=True)
        shutil.copyfile(EXAMPLES / "2221.jpg", folder / "images" / file)
    return folder


def on_model_table(output):
    return pd.read_csv(output / "on_model" / "on_model.csv", dtype=str, keep_default_na=False)


def test_the_aspect_ratio_of_a_square_image_is_restored(tmp_path):
    original, source = open_image(BAG), tmp_path / "source"
    assert original.width / original.height == 0.75
    source.mkdir()
    original.resize((480, 480)).save(source / "2650.jpg", quality=95)
    original.save(source / "2651.jpg", quality=95)
    original.resize((90, 120)).save(source / "2652.jpg")
    prepare(tmp_path / "out", "--high-resolution", source)
    images = tmp_path / "out" / "high_resolution" / "images"
    squashed, kept, small = (open_image(images / f"{i}.jpg") for i in (2650, 2651, 2652))
    assert squashed.size == kept.size == (300, MAX_SIDE)
    assert small.size == (90, 120)
    assert np.abs(np.asarray(squashed).astype(float) - np.asarray(kept)).mean() < 2


def test_restore_aspect_ratio_changes_only_square_images():
    for size, expected in {
        (400, 400): (300, 400),
        (224, 224): (168, 224),
        (300, 400): (300, 400),
        (401, 400): (401, 400),
    }.items():
        assert photographs.restore_aspect_ratio(Image.new("RGB", size)).size == expected


def test_a_product_is_read_from_the_first_source_that_has_it(tmp_path, capsys):
    for name, products, color in (("first", "12", "red"), ("second", "23", "blue"), ("third", "3", "green")):
        (tmp_path / name / "images").mkdir(parents=True)
        for product in products:
            Image.new("RGB", (60, 80), color).save(tmp_path / name / "images" / f"{product}.jpg")
    shutil.copyfile(BAG, tmp_path / "first" / "images" / "cover.jpg")  # no product
    prepare(tmp_path / "out", "--high-resolution", *(tmp_path / name for name in ("first", "second", "third")))
    assert "high_resolution: 2 first, 1 second\n" in capsys.readouterr().out
    images = tmp_path / "out" / "high_resolution" / "images"
    assert {path.stem for path in images.iterdir()} == set("123")
    colors = {i: np.asarray(open_image(images / f"{i}.jpg")).mean(axis=(0, 1)).argmax() for i in "123"}
    assert colors == {"1": 0, "2": 0, "3": 2}


def test_held_out_types_are_all_in_the_test_split(tmp_path):
    rows = [
        (f"{style}-blue-{i}.jpg", kind, "blue", "")
        for kind in ("Bags", "Watches", "Tshirts", "Shorts")
        for style in (f"{kind[0].lower()}{number}" for number in range(20))
        for i in range(2)
    ]
    source = tmp_path / "source"
    source.mkdir()
    prepare(tmp_path / "out", "--on-model", on_model(source, rows))
    table = on_model_table(tmp_path / "out")
    assert len(table) == len(rows)
    assert set(table["type"][table["split"] != "test"]) == {"Tshirts", "Shorts"}
    assert set(table["split"][table["type"].isin(HELD_OUT_TYPES)]) == {"test"}
    assert set(table["split"][table["type"] == "Tshirts"]) > {"train"}


def test_all_images_of_a_style_are_in_one_split(tmp_path):
    rows = [
        (f"mh{number:02}-{color}-{view}.jpg", "Sweatshirts", color, "Men")
        for number in range(12)
        for color in ("black", "mauve")
        for view in ("0", "0_alt1")
    ]
    source = tmp_path / "source"
    source.mkdir()
    prepare(tmp_path / "out", "--on-model", on_model(source, rows))
    table = on_model_table(tmp_path / "out")
    assert table["style"].nunique() == 12
    assert (table.groupby("style")["split"].nunique() == 1).all()
    assert table["split"].tolist() == [hashed_split(f"style {style}", held_out=0.1) for style in table["style"]]
    assert set(table["genders"]) == {"Men"}
    black, mauve = (set(table["colors"][table["image"].str.contains(color)]) for color in ("black", "mauve"))
    assert black == {"Black|Charcoal"}
    assert mauve == {"?"}  # nobody has said which names are right for it
    assert {path.name for path in (tmp_path / "out" / "on_model" / "images").iterdir()} == set(table["image"])


def test_consecutive_images_are_in_one_split(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    picture = Image.new("RGB", (40, 40), "gray")
    numbers = [[20 * place + i for i in (0, 1, 7, 19)] for place in range(60)]
    for number in (number for group in numbers for number in group):
        picture.save(source / f"shelf-{number:04}.jpg")
    prepare(tmp_path / "out", "--everyday", source)
    split = {path.name: path.parent.name for path in (tmp_path / "out" / "everyday").glob("*/*.jpg")}
    assert len(split) == 240
    of_groups = [{split[f"shelf-{number:04}.jpg"] for number in group} for group in numbers]
    assert all(len(splits) == 1 for splits in of_groups)
    assert set().union(*of_groups) == {"train", "validation", "test"}


def test_the_splits_are_those_of_the_embedded_default(tmp_path):
    """A split that moved would measure the default on what it was trained on."""
    prepare(tmp_path, "--everyday", EVERYDAY, "--backgrounds", BACKGROUNDS)
    everyday, grounds = (
        {path.name: path.parent.name for path in (tmp_path / kind).glob("*/*.jpg")}
        for kind in ("everyday", "backgrounds")
    )
    assert set(everyday) == {path.name for path in EVERYDAY.iterdir()}
    assert set(everyday.values()) == {"test"}
    by_split = {s: {name[:-4] for name, of in grounds.items() if of == s} for s in ("train", "validation", "test")}
    assert by_split == {
        "train": {"Granite_008", "PavingStones_064", "Planks_048", "Plastic_018"},
        "validation": {"Rock_054", "Tiles_055"},
        "test": {"Metal_054", "Tiles_018", "Wood_093", "Wood_095"},
    }


def test_a_zip_gives_the_same_as_the_folder(tmp_path):
    archive = tmp_path / "everyday.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("everyday/LICENSE", "MIT")
        file.writestr("__MACOSX/everyday/._grocery-0020.jpg", b"as macOS leaves them")
        for path in EVERYDAY.iterdir():
            file.write(path, f"everyday/{path.name}")
    prepare(tmp_path / "folder", "--everyday", EVERYDAY)
    prepare(tmp_path / "zip", "--everyday", archive)
    found = [
        {p.relative_to(tmp_path / k): p.read_bytes() for p in (tmp_path / k).rglob("*.jpg")} for k in ("folder", "zip")
    ]
    assert len(found[0]) == 24
    assert list(found[0].values()) == list(found[1].values())


@pytest.mark.parametrize(
    ("option", "build", "message"),
    [
        ("--high-resolution", lambda folder: shutil.copyfile(BAG, folder / "bag.jpg"), "holds no <id>.jpg"),
        ("--high-resolution", lambda folder: (folder / "1.jpg").write_bytes(b""), "1.jpg: The file is empty."),
        ("--everyday", lambda folder: (folder / "notes.txt").write_text("none"), "holds no images"),
        ("--backgrounds", lambda folder: (folder / "a-1.jpg").write_bytes(b"no"), "a-1.jpg: The file is not an image"),
        ("--on-model", lambda folder: shutil.copyfile(BAG, folder / "bag.jpg"), "holds no on-model.csv"),
        ("--on-model", lambda folder: (folder / "on-model.csv").write_text(""), "on-model.csv is no table"),
        ("--on-model", lambda folder: (folder / "on-model.csv").write_text("a,b\n1,2\n"), "lacks columns: ['color'"),
        ("--on-model", lambda folder: on_model(folder, [("a-1.jpg", "Shawls", "red", "")]), "types ['Shawls']"),
        (
            "--on-model",
            lambda folder: (folder / "on-model.csv").write_text("file,type,color,gender\na-1.jpg,Bags,red,\n"),
            "holds no a-1.jpg",
        ),
    ],
)
def test_an_unusable_source_is_an_error(tmp_path, capsys, option, build, message):
    source = tmp_path / "source"
    source.mkdir()
    build(source)
    assert photographs.main(["--output", str(tmp_path / "out"), option, str(source)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"photographs: {source}")
    assert message in printed


def test_accepted_labels_are_labels_of_the_embedded_default():
    known = json.loads((DEFAULT_CHECKPOINT / ENCODERS).read_text(encoding="utf-8"))
    for table, column in ((TYPES, "articleType"), (COLORS, "baseColour")):
        for names in table.values():
            assert set(names.split("|")) <= set(known[column].values())
            assert len(set(names.split("|"))) == len(names.split("|"))
