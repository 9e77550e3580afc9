import json
import shutil
import zipfile
from itertools import product as product_of

import numpy as np
import pytest
import torch
from PIL import Image

import app
from data_prep.duplicates import THUMBNAIL
from fashion_model.attributes import ATTRIBUTES, NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.images import open_image
from fashion_model.transforms import eval_transform
from tests.conftest import ROOT
from train.__main__ import main
from train.dataset import DataError, evaluation_loader, read_table, rows_of_split
from train.kinds import kind_accuracy
from train.versions import COPIES, DISTURBANCES, SharpPhotographs, VersionOf, on_color, product_mask

EXAMPLES = {int(path.stem): open_image(path) for path in app.EXAMPLES if path.stem.isdigit()}
BAG, SHOE = EXAMPLES[2650], EXAMPLES[2498]


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", [*COPIES, *DISTURBANCES])
def test_a_version_is_another_photograph_the_same_each_time(name):
    make = COPIES[name] if name in COPIES else DISTURBANCES[name][0]
    before = BAG.tobytes()
    version = make(BAG, 2650)
    assert version.mode == "RGB"
    assert version.tobytes() == make(BAG, 2650).tobytes() != before
    assert BAG.tobytes() == before
    expected = {"shrunk": THUMBNAIL, "cropped": (324, 432)}.get(name, BAG.size)
    assert version.size == expected


def test_the_mask_holds_the_product_and_not_the_white_around_it():
    mask = product_mask(BAG)
    assert mask.shape == (480, 360)
    assert mask[300, 180]  # leather
    assert not mask[5, 5]
    assert not mask[470, 350]
    assert 0.2 < mask.mean() < 0.6


def test_a_photograph_without_a_white_background_has_no_mask():
    gray = Image.blend(BAG, Image.new("RGB", BAG.size, (120, 120, 120)), 0.5)
    assert product_mask(gray) is None
    assert product_mask(Image.new("RGB", (30, 40), "white")) is None
    with pytest.raises(ValueError, match="no plain white background"):
        on_color(gray, 1)


def test_a_new_background_leaves_the_product_alone():
    version, mask = pixels(on_color(BAG, 2650)), product_mask(BAG)
    assert (version[mask] == pixels(BAG)[mask]).all()
    assert len(np.unique(version[~mask], axis=0)) == 1


def test_darker_and_warmer_change_light_and_not_shape():
    assert pixels(DISTURBANCES["darker"][0](BAG, 1))[0, 0].tolist() == pytest.approx([191] * 3, abs=1)
    red, green, blue = pixels(DISTURBANCES["warmer"][0](Image.new("RGB", (1, 1), (100, 100, 100)), 1))[0, 0]
    assert red > green > blue


@pytest.fixture
def sources(tmp_path):
    """A zip with a squashed bag and a folder with a bag and a shoe."""
    folder = tmp_path / "folder"
    (folder / "images").mkdir(parents=True)
    for product in (2650, 2498):
        shutil.copyfile(ROOT / "fashion_model" / "examples" / f"{product}.jpg", folder / "images" / f"{product}.jpg")
    BAG.resize((224, 224)).save(tmp_path / "bag.jpg", quality=95)
    with zipfile.ZipFile(tmp_path / "squashed.zip", "w") as file:
        file.write(tmp_path / "bag.jpg", "images/2650.jpg")
    return tmp_path / "squashed.zip", folder


def test_sharp_photographs_come_from_the_first_path_and_get_their_shape_back(sources):
    sharp = SharpPhotographs(sources)
    assert 2650 in sharp
    assert 2498 in sharp
    assert 1 not in sharp
    assert sharp[2650].size == (168, 224)
    assert np.abs(pixels(sharp[2650]) - pixels(BAG.resize((168, 224)))).mean() < 4
    assert SharpPhotographs(sources[::-1])[2650].size == (360, 480)


def test_sharp_photographs_may_lie_one_folder_deeper(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as file:
        file.write(app.EXAMPLES[1], "thumbs/images/5.jpg")
        file.write(app.EXAMPLES[0], "images/5.jpg")
        file.write(app.EXAMPLES[0], "fashion-dataset/images/7.JPG")
        file.write(app.EXAMPLES[0], "__MACOSX/fashion-dataset/images/8.jpg")
        file.write(app.EXAMPLES[0], "fashion-dataset/more-images/9.jpg")
    with zipfile.ZipFile(tmp_path / "whole.zip") as file:
        file.extractall(tmp_path / "unpacked")
    for path in (tmp_path / "whole.zip", tmp_path / "unpacked"):
        sharp = SharpPhotographs([path])
        assert [product in sharp for product in (7, 8, 9)] == [True, False, False]
        assert sharp[5].tobytes() == sharp[7].tobytes() == open_image(app.EXAMPLES[0]).tobytes()


def test_worker_processes_read_one_zip(tmp_path, tiny_model):
    with zipfile.ZipFile(tmp_path / "sharp.zip", "w") as file:
        for copy in range(40):
            file.write(app.EXAMPLES[copy % 6], f"images/{copy}.jpg")
    photographs = VersionOf(SharpPhotographs([tmp_path / "sharp.zip"]), range(40))
    transform, targets = eval_transform(tiny_model.config), torch.zeros(40, 4, dtype=torch.int64)
    loader = evaluation_loader(photographs, targets, transform, batch_size=1, workers=3)
    expected = [transform(photographs[i]) for i in range(40)]
    assert all(torch.equal(images[0], e) for (images, _), e in zip(loader, expected, strict=True))


def test_what_is_no_sharp_photograph_is_named(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "._1.jpg").touch()  # as macOS leaves them
    with pytest.raises(DataError, match=r"holds no images/<id>\.jpg"):
        SharpPhotographs([tmp_path])
    (folder / "7.jpg").write_bytes(b"no photograph")
    sharp = SharpPhotographs([tmp_path])
    assert 1 not in sharp
    with pytest.raises(DataError, match=r"images/7\.jpg: The file is not an image"):
        sharp[7]
    (tmp_path / "letter.zip").write_text("Dear Sir")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        SharpPhotographs([tmp_path / "letter.zip"])


def test_kinds_are_told_apart_where_the_features_show_them_and_not_otherwise():
    random = np.random.default_rng(0)
    products = random.normal(size=(300, 64))  # what both photographs of a product have in common
    one, other = (products + random.normal(0, 0.1, (300, 64)) for _ in range(2))
    assert kind_accuracy(one, other) == pytest.approx(0.5, abs=0.06)
    other[:, 7] += 3
    assert kind_accuracy(one, other) > 0.8
    assert kind_accuracy(one[:40], other[:40]) is None


def test_evaluate_measures_sharp_photographs_agreement_and_disturbances(
    classifier, measured, mistaken, tmp_path, capsys, monkeypatch
):
    """The sharp photographs are those of other products, so that answers differ: the arithmetic counts."""
    monkeypatch.setattr("train.combinations.EXPECTED", 0.01)  # of so few training rows
    others = tmp_path / "others" / "validation"
    others.mkdir(parents=True)
    Image.effect_noise((60, 80), 90).convert("RGB").save(others / "noise-1.jpg")
    arguments = ["evaluate", "--checkpoint", str(DEFAULT_CHECKPOINT), "--data", str(measured), "--split", "validation"]
    more = ["--sharp", str(mistaken), "--others", str(tmp_path / "others"), "--output", str(tmp_path / "m.json")]
    assert main([*arguments, *more]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert (metrics["rows"], metrics["sharp"]["rows"]) == (10, 10)

    rows = rows_of_split(read_table(measured), "validation")
    products = rows["id"].tolist()
    photographs = [open_image(mistaken / "images" / f"{p}.jpg") for p in products]

    def answers_to(make, places=range(10)):
        return classifier.predict([make(photographs[i], products[i]) for i in places])

    sharp = classifier.predict(photographs)
    small = classifier.predict([measured / "images" / f"{p}.jpg" for p in products])
    copies = {"thumbnail": small} | {copy: answers_to(make) for copy, make in COPIES.items()}
    assert set(metrics["sharp"]["agreement"]) == {*copies, "all"}
    for name in NAMES:
        same = {
            copy: [a[name].label == b[name].label for a, b in zip(sharp, of_copy, strict=True)]
            for copy, of_copy in copies.items()
        }
        same["all"] = np.all(list(same.values()), axis=0)
        assert {copy: found[name] for copy, found in metrics["sharp"]["agreement"].items()} == {
            copy: np.mean(of_copy) for copy, of_copy in same.items()
        }
        assert metrics["sharp"]["agreement"]["all"][name] < 1
    assert max(metrics["sharp"]["agreement"]["all"].values()) > 0
    assert set(metrics["sharp"]["disturbances"]) == set(DISTURBANCES)
    for disturbance, (make, needs_mask) in DISTURBANCES.items():
        used = [i for i in range(10) if not needs_mask or product_mask(photographs[i]) is not None]
        found = metrics["sharp"]["disturbances"][disturbance]
        assert found["rows"] == len(used) > 5
        answers = answers_to(make, used)
        for attribute in ATTRIBUTES:
            labels = rows[attribute.column].iloc[used]
            right = [a[attribute.name].label == label for a, label in zip(answers, labels, strict=True)]
            assert found[attribute.name] == np.mean(right)
        assert len({found[name] for name in NAMES}) > 1

    known = rows_of_split(read_table(measured), "train")
    seen = set(zip(known["articleType"], known["gender"], strict=True))
    unlikely = {pair for pair in product_of(set(known["articleType"]), set(known["gender"])) if pair not in seen}
    labelled = list(zip(rows["articleType"], rows["gender"], strict=True))
    for predictions, found in ((small, metrics), (sharp, metrics["sharp"])):
        given = [(p.product_type.label, p.gender.label) for p in predictions]
        pairs = found["unlikely_pairs"]
        assert pairs["pairs"] == len(unlikely) > 5
        assert pairs["answers"] == np.mean([pair in unlikely for pair in given])
        assert pairs["labels"] == np.mean([pair in unlikely for pair in labelled])
    for kind, predictions in (("sharp", sharp), ("thumbnails", small)):
        for label, share in metrics["sharp"]["season_shares"][kind].items():
            assert share == np.mean([p.season.label == label for p in predictions])
            assert f" {label} |" in printed
    assert "same answer as to the sharp photograph" in printed
    assert "rotated by 7°, 10 photographs" in printed
    assert f"sharp photographs: 10 photographs (10 from {mistaken.name}); " in printed
    assert metrics["sharp"]["kind_accuracy"] is None  # too few
    accepted, noise = metrics["fashion"]["accepted"], classifier.predict([others / "noise-1.jpg"])[0]
    assert set(accepted) >= {"thumbnails", "sharp", "rotated"}
    for kind, predictions in (("sharp", sharp), ("thumbnails", small)):
        assert accepted[kind] == {"pictures": 10, "share": np.mean([p.is_fashion for p in predictions])}
    assert metrics["fashion"]["flagged"]["noise"] == {"pictures": 1, "share": float(not noise.is_fashion)}


def test_sharp_photographs_of_other_products_are_no_measurement(trained, cleaned, sources, tmp_path, capsys):
    arguments = ["evaluate", "--checkpoint", str(trained), "--data", str(cleaned), "--output", str(tmp_path / "m.json")]
    assert main([*arguments, "--sharp", str(sources[1])]) == 2
    message = f"none of the 8 products used of split 'test' has a photograph in {sources[1]}"
    assert message in capsys.readouterr().err
    assert main([*arguments, "--sharp", str(tmp_path / "missing.zip")]) == 2
