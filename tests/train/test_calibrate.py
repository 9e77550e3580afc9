import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fashion_model import FashionClassifier
from fashion_model.checkpoint import CLASSES, REPORT
from fashion_model.models.config import TEMPERATURES
from tests.train.conftest import run
from train.evaluate.metrics import Sample, expected_calibration_error
from train.evaluate.predictions import saved_predictions
from train.evaluate.split_metrics import read_metrics, with_accessories
from train.finish.calibrate import (
    MAX_OVERCONFIDENCE,
    SLOPES,
    calibrate,
    fit_temperature,
    fit_temperatures,
    fit_threshold,
    overconfidence,
)


def distorted(temperature, rows=20_000, domain="thumbnails"):
    """Predictions whose confidence was calibrated before the logits were multiplied by `temperature`."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 2, (rows, 6)))
    confidence, predicted = (x.numpy() for x in logits.softmax(dim=1).max(dim=1))
    label = np.where(random.random(rows) < confidence, predicted, (predicted + 1) % 6)
    return Sample(domain, logits * temperature, torch.zeros(rows), np.eye(6, dtype=bool)[label])


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_temperature_that_was_put_in_is_found(temperature):
    sample = distorted(temperature)
    found = fit_temperature([sample])
    assert found == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(sample.confidence(found), sample.correct) < 0.02


def test_slope_that_was_put_in_is_found():
    """What looks less like a product was predicted with too much confidence."""
    sample = distorted(1.0)
    scores = torch.from_numpy(np.random.default_rng(1).normal(5, 5, len(sample.logits)))
    sample = dataclasses.replace(sample, logits=2 * sample.logits * torch.exp(-0.06 * scores[:, None]), scores=scores)
    slope, temperatures = fit_temperatures({"color": [sample]})
    assert slope == 0.06
    assert temperatures == {"color": pytest.approx(2, rel=0.05)}
    assert expected_calibration_error(sample.confidence(temperatures["color"], slope), sample.correct) < 0.02


def test_temperature_stays_within_its_bounds():
    sample = distorted(1.0, rows=100)
    wrong = dataclasses.replace(sample, accepted=np.zeros_like(sample.accepted))
    assert 0.9 * TEMPERATURES[1] < fit_temperature([wrong]) <= TEMPERATURES[1]


def test_domains_count_by_their_weights():
    """However many images they have; domains without a weight lower no temperature."""
    sure, modest = (distorted(t, rows=1000, domain=d) for t, d in ((0.5, "phone"), (0.4, "thumbnails")))
    tenfold = distorted(0.4, rows=10_000)
    assert fit_temperature([sure, tenfold]) == pytest.approx(fit_temperature([sure, modest]), rel=0.05)
    assert fit_temperature([sure, distorted(0.2, rows=1000, domain="on_model")]) == fit_temperature([sure])


def test_no_domain_is_too_confident():
    """Also none that temperatures are not fitted on."""
    modest = distorted(0.5)
    for domain in ("worn", "other_sources"):
        sure = distorted(2.0, rows=1000, domain=domain)
        found = fit_temperature([modest, sure])
        assert overconfidence([sure], found) <= MAX_OVERCONFIDENCE < overconfidence([sure], found / 1.02)
    few = Sample("on_model", sure.logits[:99], sure.scores[:99], np.zeros_like(sure.accepted[:99]))  # all wrong
    assert fit_temperature([modest, few]) == fit_temperature([modest])


def test_threshold_is_best_for_the_worst_domain():
    """However many images the domains have."""

    def domain(scores, is_fashion):
        return SimpleNamespace(fashion_scores=np.array(scores), is_fashion=is_fashion)

    products = [domain([1.0, 2.0, 3.0] * 10, True), domain([1.5, 4.0, 4.0], True)]
    assert fit_threshold([*products, domain([-1.0, 1.9], False)]) == 2.0
    assert fit_threshold([*products, domain([-1.0, -1.0, -1.0, 1.9], False), domain([-2.0] * 50, False)]) == 1.0
    assert fit_threshold(products) is None


def test_calibration_is_stored_and_shown(evaluated_on_all, prepared, tmp_path, capsys):
    """Metrics and report of the calibration before are deleted."""
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "run")
    before = saved_predictions(checkpoint, prepared, "validation")
    for file in (REPORT, CLASSES):
        (checkpoint / file).parent.mkdir(exist_ok=True)
        (checkpoint / file).write_text("{}")
    assert run("calibrate", checkpoint, prepared) == 0
    printed, config = capsys.readouterr().out, FashionClassifier.from_pretrained(checkpoint).config
    assert config == calibrate(before).config
    assert len({*config.temperatures.values()}) > 1
    assert config.temperature_slope in SLOPES
    for name, temperature in config.temperatures.items():
        assert f"{name}: temperature {temperature:.3f}\n" in printed
        assert (checkpoint / "figures" / f"reliability_{name}.png").is_file()
    assert config.fashion_threshold == fit_threshold(with_accessories(before.domains).values()) != 0
    assert set(read_metrics(evaluated_on_all)) == {"validation", "test"}
    assert set(read_metrics(checkpoint)) == {"validation"}
    assert not any((checkpoint / file).exists() for file in (REPORT, CLASSES))


def test_input_size_is_stored_if_it_is_valid(trained, cleaned, tmp_path, capsys):
    checkpoint = shutil.copytree(trained, tmp_path / "run")
    assert run("calibrate", checkpoint, cleaned, "--image-size", "96", "96") == 0
    before = (checkpoint / "config.json").read_bytes()
    for data, size, message in (
        (cleaned, "4096", "cannot take inputs of (4096, 4096): image_size must be 2 numbers from 1 to 2048"),
        (tmp_path, "64", "cleaned_styles.csv is missing"),
    ):
        assert run("calibrate", checkpoint, data, "--image-size", size, size) == 2
        assert message in capsys.readouterr().err
        assert (checkpoint / "config.json").read_bytes() == before
    config = FashionClassifier.from_pretrained(checkpoint).config
    assert (config.image_size, config.fashion_threshold) == ((96, 96), 0)  # nothing is there to be refused
