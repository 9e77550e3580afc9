import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, load_checkpoint, save_checkpoint
from tests.conftest import PRODUCTS, transformer_of
from train.__main__ import main
from train.calibrate import PHONE_WEIGHT, RANGE, REFUSED, Sample, fit_temperature, samples_of
from train.evaluation import Evaluation
from train.metrics import expected_calibration_error
from train.pictures import accepted_targets


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
    assert sample.loss(2.0) == pytest.approx(expected)


def test_no_temperature_near_by_fits_better():
    random = np.random.default_rng(3)
    logits = torch.from_numpy(random.normal(0, 2, (300, 8)))
    right = (logits + torch.from_numpy(random.gumbel(0, 1.3, (300, 8)))).argmax(dim=1)
    sample = Sample("few", logits, torch.nn.functional.one_hot(right, 8).bool().numpy())
    found = fit_temperature([sample])
    assert all(sample.loss(found) <= sample.loss(found * factor) + 1e-7 for factor in np.geomspace(0.7, 1.4, 21))


def test_answers_that_are_always_right_or_always_wrong_stay_within_bounds():
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (50, 4)))
    right = torch.nn.functional.one_hot(logits.argmax(dim=1), 4).bool().numpy()
    for accepted, edge in ((right, RANGE[0]), (~right, RANGE[1])):
        sample = Sample("x", logits, accepted)
        found = fit_temperature([sample])
        assert found == pytest.approx(edge, rel=0.6)
        assert np.isfinite(sample.loss(found))


def test_kinds_of_picture_weigh_the_same_however_many_there_are():
    sharp, soft = distorted(2.0, rows=1000), distorted(0.5, rows=1000)
    many = Sample("x", sharp.logits.repeat(10, 1), np.tile(sharp.accepted, (10, 1)))
    together = fit_temperature([sharp, soft])
    assert fit_temperature([many, soft]) == pytest.approx(together, rel=0.01)
    assert fit_temperature([soft]) < together < fit_temperature([sharp])
    heavier = dataclasses.replace(sharp, weight=2.0)
    assert together < fit_temperature([heavier, soft]) < fit_temperature([sharp])
    assert fit_temperature([heavier, soft]) == pytest.approx(fit_temperature([sharp, sharp, soft]), rel=1e-3)


def test_calibrate_stores_what_predict_applies(trained, cleaned, tmp_path, capsys):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    before = FashionClassifier.from_pretrained(checkpoint)
    for _ in range(2):  # calibrating what is calibrated finds the same
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]) == 0
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
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    assert (metrics["split"], metrics["rows"]) == ("validation", 8)
    for name in NAMES:
        with Image.open(checkpoint / "figures" / f"reliability_{name}.png") as diagram:
            assert diagram.width > 300
    assert len({*after.config.temperatures.values()}) > 1
    assert after.config.fashion_threshold == before.config.fashion_threshold == 0  # nothing is there to be refused


def panels(checkpoint, attribute):
    with Image.open(checkpoint / "figures" / f"reliability_{attribute}.png") as diagram:
        return round(diagram.width / 450)


def test_every_kind_of_picture_has_its_say(trained_on_all, prepared, tmp_path):
    """Phone photographs, sharp ones and thumbnails decide the temperature, as far as the attribute is known."""
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    before = Evaluation(checkpoint, prepared, "validation")
    arguments = ["--checkpoint", str(checkpoint), "--data", str(prepared), "--sharp", str(prepared / "sharp")]
    assert main(["calibrate", *arguments]) == 0
    assert [panels(checkpoint, name) for name in NAMES] == [3, 3, 2, 3]  # nobody knows a phone photograph's season
    classifier = FashionClassifier.from_pretrained(checkpoint)
    labels = classifier.encoders.labels
    rows = before.rows
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table = table[table["split"] == "validation"]
    sharp = rows[[(prepared / "sharp" / "images" / f"{i}.jpg").is_file() for i in rows["id"]]]
    kinds = {  # paths, colors
        "phone": ([prepared / "phone" / "images" / f"{i}.jpg" for i in table["image"]], table["colors"]),
        "sharp": ([prepared / "sharp" / "images" / f"{i}.jpg" for i in sharp["id"]], sharp["baseColour"]),
        "thumbnails": ([prepared / "images" / f"{i}.jpg" for i in rows["id"]], rows["baseColour"]),
    }
    samples = []
    for kind, (paths, colors) in kinds.items():
        predictions = classifier.predict(paths)
        targets = accepted_targets(colors, labels["color"])
        logits = torch.from_numpy(np.log([p.color.probabilities for p in predictions])).double()
        known = targets.sum(dim=1) > 0
        weight = PHONE_WEIGHT if kind == "phone" else 1.0
        samples.append(Sample(kind, logits[known], (targets > 0)[known].numpy(), weight))
    assert fit_temperature(samples) == pytest.approx(1, abs=0.02)  # nothing is left to do
    temperature = classifier.config.temperatures["color"]
    fits = [fit_temperature([sample]) * temperature for sample in samples]
    assert min(fits) <= temperature * 1.01
    assert temperature <= max(fits) * 1.01


def test_the_threshold_refuses_its_share_of_everyday_pictures(trained_on_all, prepared, tmp_path, capsys):
    data = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("decoded", "everyday", "phone"))
    pictures = sorted((prepared / "everyday").glob("*/*.jpg"))
    pictures += sorted((prepared / "images").iterdir())  # as if these were none of fashion
    folder = data / "everyday" / "validation"
    folder.mkdir(parents=True)
    for path in pictures:
        shutil.copyfile(path, folder / path.name)
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(data)]) == 0
    classifier = FashionClassifier.from_pretrained(checkpoint)
    assert f"fashion score: at least {classifier.config.fashion_threshold:.3f}\n" in capsys.readouterr().out
    predictions = classifier.predict(sorted(folder.iterdir()))
    refused = sum(not p.is_fashion for p in predictions)
    assert len(predictions) > 70
    assert refused / len(predictions) == pytest.approx(REFUSED, abs=1 / len(predictions))
    assert classifier.config.fashion_threshold != 0


def test_another_size_of_the_input_is_measured_and_stored(trained, cleaned, tmp_path):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    arguments = ["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]
    photographs = [cleaned / "images" / f"{i}.jpg" for i in Evaluation(checkpoint, cleaned, "validation").rows["id"]]
    losses = []
    for size in ([], ["--image-size", "96", "96"], []):
        assert main([*arguments, *size]) == 0
        classifier = FashionClassifier.from_pretrained(checkpoint)
        metrics = json.loads((checkpoint / "metrics.json").read_text())
        confidence = np.mean([p.color.confidence for p in classifier.predict(photographs)])
        losses.append((classifier.config.image_size, metrics["cross_entropy_sum"], confidence))
    assert [size for size, *_ in losses] == [(64, 64), (96, 96), (96, 96)]
    assert losses[0][1] != pytest.approx(losses[1][1], abs=1e-4)
    assert losses[1][1:] == pytest.approx(losses[2][1:], abs=1e-3)


@pytest.fixture
def saved_transformer(tmp_path, trained):
    encoders = load_checkpoint(trained).encoders
    save_checkpoint(tmp_path / "transformer", transformer_of(encoders), encoders)
    return tmp_path / "transformer"


def test_a_size_that_cannot_be_is_a_sentence_and_an_exit_status(trained, cleaned, saved_transformer, capsys):
    for checkpoint, size, message in (
        (trained, "0", "image_size must be 2 numbers above 0"),
        (trained, "4096", "image_size must be 2 numbers above 0, at most 2048"),
        (saved_transformer, "96", "vit_ti_8 takes input of the size it was trained on"),
    ):
        before = (checkpoint / "config.json").read_text()
        arguments = ["calibrate", "--checkpoint", str(checkpoint), "--data", str(cleaned)]
        assert main([*arguments, "--image-size", size, size]) == 2
        assert message in capsys.readouterr().err
        assert (checkpoint / "config.json").read_text() == before


def test_a_sample_has_the_pictures_that_are_known(trained, cleaned):
    evaluation = Evaluation(trained, cleaned, "validation")
    pooled = evaluation.features(evaluation.thumbnails())
    targets = {n: torch.zeros(len(pooled), len(evaluation.checkpoint.encoders.labels[n])) for n in NAMES}
    targets["color"][2, :2] = 0.5
    targets["gender"][:, 0] = 1
    samples = samples_of(evaluation, "phone photographs", pooled, targets)
    assert set(samples) == {"color", "gender"}
    assert samples["color"].accepted.nonzero()[1].tolist() == [0, 1]
    with torch.no_grad():
        logits = evaluation.model.heads(pooled)["color"].double()
    assert torch.equal(samples["color"].logits, logits[2:3])


def test_a_split_without_phone_photographs_is_calibrated_on_the_rest(trained_on_all, prepared, tmp_path, capsys):
    moved = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("decoded"))
    table = pd.read_csv(moved / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table[table["split"] == "train"].to_csv(moved / "phone" / "phone.csv", index=False)
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(moved)]) == 0
    assert [panels(checkpoint, name) for name in NAMES] == [1, 1, 1, 1]


def test_wrong_answers_to_sharp_photographs_lower_the_confidence_in_all(measured, mistaken, tmp_path):
    photographs, confidences = sorted((PRODUCTS / "images").iterdir())[:20], []
    for sharp in ([], ["--sharp", str(mistaken)]):
        checkpoint = shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / f"checkpoint {len(sharp)}")
        assert main(["calibrate", "--checkpoint", str(checkpoint), "--data", str(measured), *sharp]) == 0
        predictions = FashionClassifier.from_pretrained(checkpoint).predict(photographs)
        confidences.append(np.mean([p.product_type.confidence for p in predictions]))
        assert panels(checkpoint, "product_type") == 1 + len(sharp) // 2
    assert confidences[1] < confidences[0] - 0.1
