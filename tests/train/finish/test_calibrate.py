import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.checkpoint import save_checkpoint
from fashion_model.models.config import TEMPERATURES
from tests.conftest import NAMES, PRODUCTS, encoders_of
from tests.train.conftest import vision_transformer
from train.__main__ import main
from train.data.domains import accepted_targets
from train.data.table import read_table, rows_of_split
from train.evaluate.metrics import expected_calibration_error
from train.evaluate.predictions import predict_split
from train.evaluate.reliability import Sample, samples_of
from train.evaluate.split_metrics import read_metrics
from train.finish.calibrate import DOMAINS, REJECTED, calibrate, fit_temperature, loss

PHONE_TITLE, HIGH_RESOLUTION_TITLE, THUMBNAILS_TITLE = (title for title, _ in DOMAINS.values())


def distorted(temperature, rows=20_000, classes=6, names=1):
    """Answers whose first confidence was true before the logits were multiplied by `temperature`.

    Of each picture `names` names are accepted, but the first answer is among them as often as its confidence says.
    """
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 2, (rows, classes)))
    confidence, first = (found.numpy() for found in logits.softmax(dim=1).max(dim=1))
    order = np.array([random.permutation(np.delete(np.arange(classes), i)) for i in first])
    accepted = np.zeros((rows, classes), dtype=bool)
    accepted[np.arange(rows)[:, None], order[:, :names]] = True
    right = random.random(rows) < confidence
    accepted[np.arange(rows)[right], order[right, 0]] = False
    accepted[np.arange(rows)[right], first[right]] = True
    return Sample("thumbnails", logits * temperature, accepted)


@pytest.mark.parametrize("names", [1, 3])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature, names):
    sample = distorted(temperature, names=names)
    found = fit_temperature([sample])
    assert found == pytest.approx(temperature, rel=0.05)
    before = expected_calibration_error(sample.confidence(1.0), sample.correct)
    after = expected_calibration_error(sample.confidence(found), sample.correct)
    assert after < 0.02
    assert after < before or temperature == 1
    assert sample.confidence(found).mean() == pytest.approx(sample.correct.mean(), abs=0.01)


def test_any_accepted_name_makes_the_first_answer_right():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0]]).double()
    accepted = np.array([[True, False, True], [True, False, True], [False, True, True]])
    sample = Sample("phone photographs", logits, accepted)
    assert sample.correct.tolist() == [True, False, True]
    probabilities = torch.softmax(logits / 2, dim=1).max(dim=1).values.numpy()
    expected = -np.mean([np.log(probabilities[0]), np.log(1 - probabilities[1]), np.log(probabilities[2])])
    assert loss(sample, 2.0) == pytest.approx(expected)


def test_no_temperature_near_by_fits_better():
    random = np.random.default_rng(3)
    logits = torch.from_numpy(random.normal(0, 2, (300, 8)))
    right = (logits + torch.from_numpy(random.gumbel(0, 1.3, (300, 8)))).argmax(dim=1)
    sample = Sample("thumbnails", logits, torch.nn.functional.one_hot(right, 8).bool().numpy())
    found = fit_temperature([sample])
    assert all(loss(sample, found) <= loss(sample, found * factor) + 1e-7 for factor in np.geomspace(0.7, 1.4, 21))


def test_answers_that_are_always_right_or_always_wrong_stay_within_bounds():
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (50, 4)))
    right = torch.nn.functional.one_hot(logits.argmax(dim=1), 4).bool().numpy()
    for accepted, edge in ((right, TEMPERATURES[0]), (~right, TEMPERATURES[1])):
        sample = Sample("thumbnails", logits, accepted)
        found = fit_temperature([sample])
        assert found == pytest.approx(edge, rel=0.6)
        assert np.isfinite(loss(sample, found))


def test_domains_have_their_weights_however_many_images_they_have():
    sharp, soft = distorted(2.0, rows=1000), distorted(0.5, rows=1000)

    def of(sample, domain, times=1):
        return Sample(domain, sample.logits.repeat(times, 1), np.tile(sample.accepted, (times, 1)))

    first, second = of(sharp, HIGH_RESOLUTION_TITLE), of(soft, THUMBNAILS_TITLE)
    together = fit_temperature([first, second])
    assert fit_temperature([of(sharp, HIGH_RESOLUTION_TITLE, times=10), second]) == pytest.approx(together, rel=0.01)
    assert fit_temperature([second]) < together < fit_temperature([first])
    heavier = fit_temperature([of(sharp, PHONE_TITLE), second])
    assert together < heavier < fit_temperature([first])
    assert heavier == pytest.approx(fit_temperature([first] * 4 + [second]), rel=1e-3)


def test_calibrate_stores_what_predict_applies(trained, cleaned, tmp_path, capsys):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    before = FashionClassifier.from_pretrained(checkpoint)
    for _ in range(2):  # calibrating what is calibrated finds the same
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned), "--device", "cpu"]) == 0
        printed = capsys.readouterr().out
        after = FashionClassifier.from_pretrained(checkpoint)
        for name in NAMES:
            assert f"{name}: temperature {after.config.temperatures[name]:.3f}\n" in printed
        assert f"fashion score: at least {after.config.fashion_threshold:.3f}" in printed
        photographs = sorted((PRODUCTS / "images").iterdir())[:5]
        for plain, warm in zip(before.predict(photographs), after.predict(photographs), strict=True):
            for name in NAMES:
                weights = plain[name].probabilities.astype(float) ** (1 / after.config.temperatures[name])
                assert np.allclose(warm[name].probabilities, weights / weights.sum(), atol=1e-4)
                assert warm[name].label == plain[name].label
    metrics = read_metrics(checkpoint).splits
    assert set(metrics) == {"validation"}
    assert metrics["validation"].thumbnails["images"] == 8
    for name in NAMES:
        with Image.open(checkpoint / "figures" / f"reliability_{name}.png") as diagram:
            assert diagram.width > 300
    assert len({*after.config.temperatures.values()}) > 1
    assert after.config.fashion_threshold == before.config.fashion_threshold == 0  # nothing is there to be refused


def panels(checkpoint, attribute):
    with Image.open(checkpoint / "figures" / f"reliability_{attribute}.png") as diagram:
        return round(diagram.width / 450)


def test_every_domain_with_known_labels_decides_the_temperature(trained_on_all, prepared, tmp_path):
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(prepared), "--device", "cpu"]) == 0
    assert [panels(checkpoint, name) for name in NAMES] == [3, 3, 2, 3]  # the season of phone photographs is unknown
    classifier = FashionClassifier.from_pretrained(checkpoint)
    rows = rows_of_split(read_table(prepared), "validation")
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table = table[table["split"] == "validation"]
    folder = prepared / "high_resolution" / "images"
    photographed = rows[[(folder / f"{i}.jpg").is_file() for i in rows["id"]]]
    domains = {  # paths, colors
        PHONE_TITLE: ([prepared / "phone" / "images" / f"{i}.jpg" for i in table["image"]], table["colors"]),
        HIGH_RESOLUTION_TITLE: ([folder / f"{i}.jpg" for i in photographed["id"]], photographed["baseColour"]),
        THUMBNAILS_TITLE: ([prepared / "images" / f"{i}.jpg" for i in rows["id"]], rows["baseColour"]),
    }
    samples = []
    for title, (paths, colors) in domains.items():
        targets = accepted_targets(colors, classifier.encoders.labels["color"])
        logits = torch.from_numpy(np.log([p.color.probabilities for p in classifier.predict(paths)])).double()
        known = targets.sum(dim=1) > 0
        samples.append(Sample(title, logits[known], (targets > 0)[known].numpy()))
    assert fit_temperature(samples) == pytest.approx(1, abs=0.02)  # nothing is left to do
    temperature = classifier.config.temperatures["color"]
    fits = [fit_temperature([sample]) * temperature for sample in samples]
    assert min(fits) <= temperature * 1.01
    assert temperature <= max(fits) * 1.01


def test_the_threshold_rejects_its_share_of_everyday_photographs(trained_on_all, prepared, tmp_path, capsys):
    data = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("everyday", "phone"))
    images = sorted((prepared / "everyday").glob("*/*.jpg"))
    images += sorted((prepared / "images").iterdir())  # as if these showed no fashion product
    folder = data / "everyday" / "validation"
    folder.mkdir(parents=True)
    for path in images:
        shutil.copyfile(path, folder / path.name)
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(data), "--device", "cpu"]) == 0
    classifier = FashionClassifier.from_pretrained(checkpoint)
    assert f"fashion score: at least {classifier.config.fashion_threshold:.3f}\n" in capsys.readouterr().out
    predictions = classifier.predict(sorted(folder.iterdir()))
    rejected = sum(not p.is_fashion for p in predictions)
    assert len(predictions) > 70
    assert rejected / len(predictions) == pytest.approx(REJECTED, abs=1.01 / len(predictions))
    assert classifier.config.fashion_threshold != 0


def test_metrics_of_before_the_calibration_are_dropped(evaluated_on_all, prepared, tmp_path):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert set(read_metrics(checkpoint).splits) == {"test"}
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(prepared), "--device", "cpu"]) == 0
    assert set(read_metrics(checkpoint).splits) == {"validation"}


def test_another_input_size_is_measured_and_stored(trained, cleaned, tmp_path):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    arguments = ["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned), "--device", "cpu"]
    found = []
    for size in ([], ["--image-size", "96", "96"], []):
        assert main([*arguments, *size]) == 0
        config = FashionClassifier.from_pretrained(checkpoint).config
        found.append((config.image_size, read_metrics(checkpoint).splits["validation"].thumbnails["nll_sum"]))
    assert [size for size, _ in found] == [(64, 64), (96, 96), (96, 96)]
    assert found[0][1] != pytest.approx(found[1][1], abs=1e-4)
    assert found[1][1] == pytest.approx(found[2][1], abs=1e-3)


def test_an_invalid_size_is_a_sentence_and_changes_nothing(trained, cleaned, tmp_path, capsys):
    transformer = tmp_path / "transformer"
    model = vision_transformer()
    save_checkpoint(transformer, model, encoders_of(model.config.attributes))
    for checkpoint, size, message in (
        (trained, "0", "image_size must be 2 numbers above 0"),
        (trained, "4096", "image_size must be 2 numbers above 0, at most 2048"),
        (transformer, "100", "must be multiples of (16, 16) for test_vit"),
        (transformer, "96", "cannot take inputs of (96, 96)"),
    ):
        before = json.loads((checkpoint / "config.json").read_text())
        arguments = ["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]
        assert main([*arguments, "--image-size", size, size]) == 2
        assert message in capsys.readouterr().err
        assert json.loads((checkpoint / "config.json").read_text()) == before


def test_a_split_without_phone_photographs_is_calibrated_on_the_rest(trained_on_all, prepared, tmp_path):
    moved = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("high_resolution"))
    table = pd.read_csv(moved / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table[table["split"] == "train"].to_csv(moved / "phone" / "phone.csv", index=False)
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(moved), "--device", "cpu"]) == 0
    assert [panels(checkpoint, name) for name in NAMES] == [1, 1, 1, 1]


def test_wrong_predictions_in_one_domain_lower_the_confidence_in_all(trained_on_all, prepared, tmp_path):
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    predictions = predict_split(checkpoint, prepared, "validation")
    before = calibrate(predictions).config.temperatures["product_type"]
    wrong = predictions.domains["phone"]
    accepted = np.zeros_like(wrong.accepted["product_type"])
    accepted[:, 0] = True
    never = wrong.predicted["product_type"] == 0
    accepted[never, 0], accepted[never, 1] = False, True
    object.__setattr__(wrong, "accepted", {**wrong.accepted, "product_type": accepted})
    assert calibrate(predictions).config.temperatures["product_type"] > 1.1 * before
    assert [s.domain for s in samples_of({"x": wrong}, "season")] == []
