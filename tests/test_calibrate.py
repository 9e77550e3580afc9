import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import PRODUCTS
from train.__main__ import main
from train.calibrate import Sample, fit_temperature
from train.metrics import Answers, figures


def overconfident(temperature, rows=4000):
    """Answers whose probabilities were true before their logits were divided by `temperature` < 1."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (rows, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(6, p=p) for p in probabilities])
    sharpened = logits / temperature
    return Sample("thumbnails", sharpened - np.logaddexp.reduce(sharpened, axis=1, keepdims=True), targets)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature):
    sample = overconfident(temperature)
    found = fit_temperature([sample])
    assert found == pytest.approx(1 / temperature, rel=0.05)
    after = figures(Answers.of(sample.probabilities(found), sample.targets))
    assert after["calibration_error"] < 0.025
    assert after["accuracy"] == figures(Answers.of(sample.probabilities(1), sample.targets))["accuracy"]


def test_kinds_of_picture_weigh_the_same_however_many_there_are():
    many, few = overconfident(0.5, 4000), overconfident(2.0, 400)
    assert fit_temperature([many, few]) == pytest.approx(
        fit_temperature([Sample("x", many.logarithms[:400], many.targets[:400]), few]), rel=0.15
    )


def test_calibrate_stores_temperatures_that_predict_applies(trained, cleaned, tmp_path, capsys):
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
        temperature = after.config.temperatures[name]
        assert f"{name}: temperature {temperature:.3f}" in printed
        powers = plain[name].probabilities.astype(float) ** (1 / temperature)
        assert np.allclose(warm[name].probabilities, powers / powers.sum(), atol=1e-4)
        assert new["attributes"][name]["accuracy"] == old["attributes"][name]["accuracy"]
        assert new["attributes"][name]["cross_entropy"] <= old["attributes"][name]["cross_entropy"] + 1e-3
        with Image.open(checkpoint / "figures" / f"reliability_{name}.png") as diagram:
            assert diagram.width > 300
    assert new["split"] == "validation"


def test_wrong_answers_to_sharp_photographs_lower_the_confidence_in_all(measured, mistaken, tmp_path):
    temperatures = []
    for sharp in ([], ["--sharp", str(mistaken)]):
        checkpoint = shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / f"checkpoint {len(sharp)}")
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(measured), *sharp]) == 0
        temperatures.append(FashionClassifier.from_pretrained(checkpoint).config.temperatures["product_type"])
        with Image.open(checkpoint / "figures" / "reliability_product_type.png") as diagram:
            panels = diagram.width // diagram.height + 1
            assert panels == 1 + len(sharp) // 2
    assert temperatures[1] > 1.5 * temperatures[0]
