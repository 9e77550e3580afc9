"""Telling what is not a fashion product: the score, the pictures it is chosen and measured on, the commands."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import app
from data_prep import other_pictures
from fashion_model import FashionClassifier
from fashion_model.familiarity import CERTAINTY, DIMENSIONS, Familiarity
from tests.conftest import PRODUCTS, TEST_SPLIT
from train.__main__ import main
from train.combinations import Combinations
from train.dataset import DataError
from train.others import OtherPictures


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A few of each kind, as `data_prep.other_pictures` writes them, and a folder of more photographs."""
    folder = tmp_path_factory.mktemp("others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_pictures, "DRAWN", 4)
        patch.setattr(other_pictures, "CROPS", 2)
        arguments = ["--output", str(folder), "--photographs", str(PRODUCTS / "images")]
        assert other_pictures.main(arguments) == 0
    return folder


def energies(values):
    """Logits of one attribute whose energy is `values`."""
    return {"season": torch.stack([values, torch.full_like(values, -1e4)], dim=1)}


def test_features_within_the_subspace_and_certain_answers_score_high():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 40)).Q.T
    familiarity = Familiarity(300)

    def around(rows, noise):
        return torch.randn(rows, 40) @ basis + 0.3 + noise * torch.randn(rows, 300)

    familiarity.fit(around(8000, 0.02), energies(10 + torch.randn(8000)))
    usual = torch.full((50,), 10.0)
    scores = [familiarity(around(50, noise), energies(usual)).mean() for noise in (0.02, 0.2, 1)]
    assert scores[0] == pytest.approx(0, abs=0.8)
    assert scores[0] > scores[1] + 3 > scores[2] + 6
    less_sure = familiarity(around(50, 0.02), energies(usual - 5)).mean()
    assert scores[0] - less_sure == pytest.approx(5 * CERTAINTY / (1 + CERTAINTY), rel=0.2)
    assert familiarity.basis.shape == (DIMENSIONS, 300)


def test_before_the_fit_nothing_is_told_apart_and_zeros_are_no_error(tiny_model):
    assert (tiny_model.fashion_scores(torch.rand(3, 1280)) == 0).all()
    assert tiny_model.config.fashion_threshold == 0
    known = torch.rand(20, 1280)
    tiny_model.familiarity.fit(known, tiny_model.heads(known))
    assert tiny_model.fashion_scores(torch.zeros(1, 1280)).isfinite().all()


def test_a_subspace_of_few_photographs_leaves_room_outside():
    torch.manual_seed(0)
    familiarity = Familiarity(64)
    familiarity.fit(torch.randn(20, 64), energies(torch.randn(20)))
    assert (familiarity.basis.norm(dim=1) > 0.5).sum() == 10


def test_the_other_pictures_are_of_every_kind_and_apart_by_split(others):
    kinds = {"photograph", "crop", *other_pictures.PAINTERS}
    names = {}
    for split in ("validation", "test"):
        pictures = OtherPictures(others / split)
        assert set(pictures.kinds) == kinds
        names[split] = {path.name for path in pictures.paths if "photograph" in path.name}
        assert all(min(pictures[i].size) >= 10 for i in range(0, len(pictures), 7))
    assert not names["validation"] & names["test"]
    assert any("sklearn-china" in name for name in names["test"])
    assert any("skimage-coffee" in name for name in names["validation"])
    assert not any("astronaut" in name for split in names.values() for name in split)
    assert sum("folder-" in name for name in names["test"]) == len(list((PRODUCTS / "images").iterdir()))


def test_pictures_are_counted_by_their_kind(others):
    pictures = OtherPictures(others / "validation")
    shares = pictures.shares(pictures.kinds == "noise")
    assert shares["noise"] == {"pictures": 4, "share": 1.0}
    assert shares["blank"] == {"pictures": 4, "share": 0.0}
    assert shares["mean"] == {"pictures": len(pictures), "share": pytest.approx(1 / 7)}


def test_no_pictures_and_a_damaged_one_are_named(tmp_path):
    with pytest.raises(DataError, match="other_pictures writes them"):
        OtherPictures(tmp_path)
    (tmp_path / "crop-x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"crop-x\.jpg: The file is empty"):
        OtherPictures(tmp_path)[0]


def test_novelty_stores_what_predict_and_evaluate_use(trained, cleaned, others, tmp_path, capsys):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    common = ["--checkpoint", str(checkpoint), "--data", str(cleaned), "--others", str(others)]
    before = FashionClassifier.from_pretrained(checkpoint)
    assert main(["novelty", *common]) == 0
    printed = capsys.readouterr().out
    after = FashionClassifier.from_pretrained(checkpoint)
    threshold = after.config.fashion_threshold
    assert f"threshold {threshold:.4f}" in printed
    assert "energy" in printed
    photographs = sorted((cleaned / "images").iterdir())
    old, new = before.predict(photographs), after.predict(photographs)
    assert all(prediction.is_fashion for prediction in old)
    assert all(np.array_equal(a.color.probabilities, b.color.probabilities) for a, b in zip(old, new, strict=True))
    assert all(prediction.is_fashion == (prediction.fashion_score >= threshold) for prediction in new)
    assert main(["evaluate", *common, "--split", "test"]) == 0
    fashion = json.loads((checkpoint / "metrics.json").read_text())["fashion"]
    noise = after.predict(sorted((others / "test").glob("noise-*.jpg")))
    assert fashion["flagged"]["noise"]["share"] == np.mean([not prediction.is_fashion for prediction in noise])
    assert fashion["accepted"]["thumbnails"]["pictures"] == 8
    assert "is it a fashion product?" in capsys.readouterr().out


def test_the_default_accepts_products_and_refuses_noise_blanks_and_documents(classifier):
    products = [*app.EXAMPLES, *sorted((TEST_SPLIT / "images").iterdir())]
    assert np.mean([prediction.is_fashion for prediction in classifier.predict(products)]) >= 0.92
    random = np.random.default_rng(5)
    painters = other_pictures.PAINTERS
    pictures = [painters[kind](random) for kind in ("noise", "blank", "document") for _ in range(8)]
    assert np.mean([not prediction.is_fashion for prediction in classifier.predict(pictures)]) >= 0.85


def test_what_others_keep_in_the_folder_stays_and_names_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.setattr(other_pictures, "DRAWN", 1)
    kept = tmp_path / "others" / "test" / "holiday.jpg"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (100, 400), "green").save(tmp_path / folder / "same.png")
    for _ in range(2):
        counts = other_pictures.collect(tmp_path / "others", [tmp_path / "a", tmp_path / "b"])
    assert kept.is_file()
    written = [path.name.split("-")[0] for path in (tmp_path / "others" / "test").glob("*-*.jpg")]
    assert counts["test"]["photograph"] == written.count("photograph") == 8
    assert counts["test"]["crop"] == written.count("crop") == 8 * other_pictures.CROPS
    with Image.open(next((tmp_path / "others" / "test").glob("crop-*same-0.jpg"))) as crop:
        assert crop.width / crop.height == pytest.approx(3 / 4, abs=0.05)


def test_a_missing_package_is_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(other_pictures, "PACKAGED", (("validation", "no_such_package", "x", "y.png"),))
    assert other_pictures.main(["--output", str(tmp_path)]) == 2
    assert "no_such_package is not installed" in capsys.readouterr().err


def test_pairs_that_hardly_occur_though_they_should_are_counted():
    pairs = {(0, 0): 500, (1, 0): 250, (1, 1): 250, (2, 0): 1, (3, 1): 300, (3, 0): 1, (4, 1): 200, (4, 0): 2}
    rows = np.repeat(list(pairs), list(pairs.values()), axis=0)
    labels = (("Sarees", "Shirts", "Caps", "Ties", "Trunk"), ("Women", "Men"))
    combinations = Combinations.of((rows[:, 0], rows[:, 1]), labels)
    # (0, 1) is missing of 500 x 750 / 1504 expected, (2, 1) of 0.5; of 301 and 202 x 754 / 1504, 1 and 2 are there.
    assert np.argwhere(combinations.unlikely).tolist() == [[0, 1], [3, 0]]
    answers = (np.array([0, 3, 3, 1, 0]), np.array([1, 0, 0, 1, 0]))
    assert combinations.figures(answers, (np.array([0, -1, 1, 3, 0]), np.array([1, 0, 1, 1, 0]))) == {
        "pairs": 2,
        "answers": 0.6,
        "labels": 0.2,
        "frequent": [{"labels": ["Ties", "Women"], "count": 2}, {"labels": ["Sarees", "Men"], "count": 1}],
    }
    none = (np.array([1]), np.array([1]))
    ranked = combinations.ranked({"small": answers, "sharp": none})
    assert [(pair["labels"], pair["seen"], pair["answers"]) for pair in ranked] == [
        (["Ties", "Women"], 1, {"small": 2, "sharp": 0}),
        (["Sarees", "Men"], 0, {"small": 1, "sharp": 0}),
    ]
    assert [pair["expected"] for pair in ranked] == pytest.approx([301 * 754 / 1504, 500 * 750 / 1504])


def test_a_picture_that_is_no_photograph_of_a_product_still_gets_its_answers(classifier):
    prediction = classifier.predict([Image.new("RGB", (60, 80), "white")])[0]
    assert not prediction.is_fashion
    assert prediction.fashion_score < classifier.config.fashion_threshold
    assert prediction.color.probabilities.sum() == pytest.approx(1, abs=1e-5)
