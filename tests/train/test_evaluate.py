"""What `train evaluate` measures is what FashionClassifier predicts."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from data_prep.phone_photographs import COARSE
from fashion_model import FashionClassifier
from fashion_model.checkpoint import CheckpointError, read_json, write_json
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES, TEST_SPLIT
from tests.train.conftest import run, split_of
from train.evaluate.inference import BATCH_SIZE, PASTED_SIDE, evaluation_domains, outputs_of
from train.evaluate.metrics import mean_interval
from train.evaluate.predictions import predictions_digest, saved_predictions
from train.evaluate.split_metrics import read_metrics, split_metrics
from train.evaluate.tables import markdown

EMPTY = "other_sources_without_products"
COMMON = ["thumbnails", "high_resolution", "phone", "worn", "on_model", "people", "everyday", "pasted"]


@pytest.fixture(scope="module")
def measured(evaluated_on_all):
    """Split → metrics."""
    return read_metrics(evaluated_on_all)


@pytest.fixture(scope="module")
def classifier(evaluated_on_all):
    return FashionClassifier.from_pretrained(evaluated_on_all)


@pytest.fixture
def copied(evaluated_on_all, tmp_path):
    """A copy of the evaluated checkpoint, to be changed."""
    return shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")


def check_share(measured, hit, groups):
    assert measured["images"] == len(hit)
    assert measured["share"] == pytest.approx(np.mean(hit))
    assert measured["interval"] == pytest.approx(mean_interval(np.array(hit), groups))


@pytest.mark.parametrize("name", COMMON)
def test_metrics_are_of_what_predict_answers(name, measured, classifier, prepared):
    (domain,) = [domain for domain in evaluation_domains(split_of(prepared, "test")) if domain.name == name]
    predictions, section = classifier.predict(list(domain)), measured["test"]["domains"][name]
    assert (section["images"], section["groups"]) == (len(domain), len(set(domain.groups)))
    check_share(section["recognized"], [prediction.is_fashion for prediction in predictions], domain.groups)
    accepted = {attribute: targets.numpy() > 0 for attribute, targets in domain.targets.items() if targets.any()}
    assert section["attributes"].keys() == accepted.keys()
    for attribute, labels in accepted.items():
        metrics, known = section["attributes"][attribute], np.flatnonzero(labels.any(axis=1))
        probabilities = np.stack([predictions[i][attribute].probabilities for i in known])
        right = labels[known, probabilities.argmax(axis=1)]
        assert metrics["images"] == len(known)
        assert metrics["accuracy"] == pytest.approx(right.mean())
        assert metrics["accuracy_interval"] == pytest.approx(mean_interval(right, np.array(domain.groups)[known]))
        assert metrics["confidence"] == pytest.approx(probabilities.max(axis=1).mean(), abs=1e-4)


def test_contributors_own_labels_are_compared(measured, classifier, prepared):
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str).query("split == 'test'")
    table = table[table["contributed_label"].isin(COARSE)]
    predictions = classifier.predict([prepared / "phone" / "images" / f"{image}.jpg" for image in table["image"]])
    types = [prediction.product_type.label for prediction in predictions]
    hit = [name in COARSE[label] for name, label in zip(types, table["contributed_label"], strict=True)]
    check_share(measured["test"]["coarse_label"], hit, list(table["sender"]))


def test_agreement_is_of_two_photographs_of_a_product(measured, classifier, prepared):
    sharp = prepared / "high_resolution" / "images"
    ids = [i for i in split_of(prepared, "test").rows["id"] if (sharp / f"{i}.jpg").is_file()]
    pairs = [classifier.predict([folder / f"{i}.jpg" for i in ids]) for folder in (prepared / "images", sharp)]
    same = {n: np.mean([a[n].label == b[n].label for a, b in zip(*pairs, strict=True)]) for n in NAMES}
    assert measured["test"]["agreement"] == pytest.approx(same)


def test_every_domain_of_a_split_is_measured(measured, prepared):
    test, validation = (measured[split]["domains"] for split in ("test", "validation"))
    assert set(test) - {"worn_accessories", "on_model_accessories"} == set(COMMON)
    assert set(validation) - set(test) >= {"other_sources", EMPTY}
    assert {name for name, section in validation.items() if not section["is_fashion"]} == {"everyday", EMPTY}
    (pasted,) = [domain for domain in evaluation_domains(split_of(prepared, "test")) if domain.name == "pasted"]
    assert all(max(image.size) == PASTED_SIDE for image in pasted)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(pasted, list(pasted), strict=True))


def test_card_and_terminal_show_the_metrics(evaluated_on_all, copied, prepared, measured, capsys):
    assert run("evaluate", copied, prepared) == 0
    printed, card = capsys.readouterr().out, (copied / "README.md").read_text(encoding="utf-8")
    tables = markdown(ATTRIBUTES, measured["test"], "test")
    assert tables in printed
    assert tables in card
    assert "each with a confidence that is not calibrated" in card
    assert (copied / "metrics.json").read_bytes() == (evaluated_on_all / "metrics.json").read_bytes()
    (copied / "README.md").write_text("My own notes")
    assert run("evaluate", copied, prepared) == 2
    assert "README.md is not a model card of this command" in capsys.readouterr().err
    assert (copied / "README.md").read_text() == "My own notes"


def change(checkpoint, **values):
    write_json(checkpoint / "config.json", read_json(checkpoint / "config.json") | values)


def test_predictions_are_saved_once(copied, prepared, cleaned, measured):
    path = copied / "predictions" / "test.safetensors"
    written, saved = path.stat().st_mtime_ns, saved_predictions(copied, prepared, "test")
    assert split_metrics(saved, prepared) == measured["test"]
    change(copied, temperatures=dict.fromkeys(NAMES, 2.0), fashion_threshold=1.0)
    assert saved_predictions(copied, prepared, "test").config.fashion_threshold == 1.0
    assert path.stat().st_mtime_ns == written
    change(copied, image_size=[72, 72])
    other = saved_predictions(copied, cleaned, "test")
    assert path.stat().st_mtime_ns > written
    assert not np.allclose(other.domains["thumbnails"].fashion_scores, saved.domains["thumbnails"].fashion_scores)
    digest = predictions_digest(copied, cleaned, "test")
    assert digest != predictions_digest(copied, prepared, "test")
    with (copied / "trained_on.txt").open("a") as file:
        file.write("1\n")
    assert digest != predictions_digest(copied, cleaned, "test")


def test_metrics_of_other_weights_are_not_read(copied, cleaned, measured):
    assert set(measured) == set(read_metrics(copied)) == {"test", "validation"}
    change(copied, fashion_threshold=3.0)
    with pytest.raises(CheckpointError, match="other weights or another calibration"):
        read_metrics(copied)
    assert run("evaluate", copied, cleaned, "--split", "validation") == 0
    assert set(read_metrics(copied)) == {"validation"}  # those of the test split had another threshold
    (copied / "metrics.json").write_text('{"splits": 1}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_metrics(copied)


def test_what_was_trained_on_is_left_out(trained, cleaned, tmp_path, capsys):
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    twins = table[table["group"].duplicated(keep=False)]
    table.loc[table["group"] == twins["group"].iloc[0], "split"] = "test"  # both were in training
    data, checkpoint = tmp_path / "data", shutil.copytree(trained, tmp_path / "checkpoint")
    data.mkdir()
    (data / "images").symlink_to(cleaned / "images")
    table.to_csv(data / "cleaned_styles.csv", index=False)
    assert run("evaluate", checkpoint, data) == 0
    assert "trained on: 2 rows" in capsys.readouterr().out
    assert read_metrics(checkpoint)["test"]["domains"]["thumbnails"]["images"] == 8
    (checkpoint / "trained_on.txt").unlink()
    assert run("evaluate", checkpoint, data) == 0
    assert "It is not known whether it was trained on images measured" in (checkpoint / "README.md").read_text()


def test_workers_give_the_same_features_as_none(tiny_model):
    photographs = [open_image(path) for path in sorted((TEST_SPLIT / "images").iterdir())[: BATCH_SIZE + 1]]
    alone, together = (outputs_of(tiny_model, photographs, workers).logits["color"] for workers in (0, 2))
    assert len(alone) == BATCH_SIZE + 1
    assert torch.equal(alone, together)
