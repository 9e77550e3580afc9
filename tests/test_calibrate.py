import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import PRODUCTS
from train.__main__ import main
from train.calibrate import Sample, fit_calibration
from train.metrics import Answers, figures


def distorted(temperature, exponent=1.0, rows=20_000):
    """Answers whose probabilities were true before `temperature` and `exponent` were undone."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (rows, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(6, p=p) for p in probabilities])
    # -surprise ** exponent / temperature shall be the true logits, up to a constant which makes this a softmax
    true, high = np.log(probabilities), np.full((rows, 1), 60.0)
    low = true.max(axis=1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        surprise = (temperature * (middle - true)) ** (1 / exponent)
        heavy = np.exp(-surprise).sum(axis=1, keepdims=True) > 1
        low, high = np.where(heavy, middle, low), np.where(heavy, high, middle)
    return Sample("thumbnails", torch.from_numpy(-surprise), targets)


@pytest.mark.parametrize(("temperature", "exponent"), [(0.4, 1.0), (1.0, 1.0), (2.5, 1.0), (1.6, 1.4), (0.8, 0.7)])
def test_the_temperature_and_exponent_that_were_put_in_are_found(temperature, exponent):
    sample = distorted(temperature, exponent)
    found = fit_calibration([sample])
    assert found == pytest.approx((temperature, exponent), rel=0.1)
    before = figures(Answers.of(sample.probabilities(1, 1), sample.targets))
    after = figures(Answers.of(sample.probabilities(*found), sample.targets))
    true = figures(Answers.of(sample.probabilities(temperature, exponent), sample.targets))
    assert after["calibration_error"] < 0.025
    assert after["accuracy"] == before["accuracy"]
    assert after["cross_entropy"] <= min(before["cross_entropy"], true["cross_entropy"]) + 1e-6


def test_nothing_near_by_fits_better():
    """Few photographs: temperature and exponent can nearly make up for each other."""
    random = np.random.default_rng(3)
    logits = torch.from_numpy(random.normal(0, 2, (300, 8)))
    sample = Sample("few", logits, (logits + torch.from_numpy(random.gumbel(0, 1.3, (300, 8)))).argmax(1).numpy())
    temperature, exponent = fit_calibration([sample])
    for t in np.geomspace(0.8, 1.25, 9):
        for e in np.geomspace(0.8, 1.25, 9):
            assert sample.loss(temperature, exponent) <= sample.loss(temperature * t, exponent * e) + 1e-7


def test_kinds_of_picture_weigh_the_same_however_many_there_are():
    sharp, soft = distorted(2.0, rows=400), distorted(0.5, rows=400)
    many = Sample("x", sharp.logits.repeat(10, 1), np.tile(sharp.targets, 10))
    assert fit_calibration([many, soft]) == pytest.approx(fit_calibration([sharp, soft]), rel=0.01)


def test_calibrate_stores_what_predict_applies(trained, cleaned, tmp_path, capsys):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    before = FashionClassifier.from_pretrained(checkpoint)
    old = json.loads((checkpoint / "metrics.json").read_text())
    for _ in range(2):  # calibrating what is calibrated finds the same
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]) == 0
        printed = capsys.readouterr().out
    after = FashionClassifier.from_pretrained(checkpoint)
    new = json.loads((checkpoint / "metrics.json").read_text())
    photograph = sorted((PRODUCTS / "images").iterdir())[0]
    plain, warm = before.predict([photograph])[0], after.predict([photograph])[0]
    for name in NAMES:
        temperature, exponent = after.config.temperatures[name], after.config.exponents[name]
        assert f"{name}: temperature {temperature:.3f}, exponent {exponent:.3f}" in printed
        weights = np.exp(-((-np.log(plain[name].probabilities.astype(float))) ** exponent) / temperature)
        assert np.allclose(warm[name].probabilities, weights / weights.sum(), atol=1e-4)
        assert new["attributes"][name]["accuracy"] == old["attributes"][name]["accuracy"]
        assert new["attributes"][name]["cross_entropy"] <= old["attributes"][name]["cross_entropy"] + 1e-3
        with Image.open(checkpoint / "figures" / f"reliability_{name}.png") as diagram:
            assert diagram.width > 300
    assert new["split"] == "validation"


def test_wrong_answers_to_sharp_photographs_lower_the_confidence_in_all(measured, mistaken, tmp_path):
    photographs, confidences = sorted((PRODUCTS / "images").iterdir())[:20], []
    for sharp in ([], ["--sharp", str(mistaken)]):
        checkpoint = shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / f"checkpoint {len(sharp)}")
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(measured), *sharp]) == 0
        predictions = FashionClassifier.from_pretrained(checkpoint).predict(photographs)
        confidences.append(np.mean([p.product_type.confidence for p in predictions]))
        with Image.open(checkpoint / "figures" / "reliability_product_type.png") as diagram:
            panels = diagram.width // diagram.height + 1
            assert panels == 1 + len(sharp) // 2
    assert confidences[1] < confidences[0] - 0.1
