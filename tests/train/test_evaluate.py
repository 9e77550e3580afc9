"""What `train evaluate` measures is what FashionClassifier predicts."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import get_worker_info

from data_prep.phone_photographs import COARSE
from fashion_model import FashionClassifier
from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import CheckpointError, load_checkpoint, read_json, write_json
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES, TEST_SPLIT
from tests.train.conftest import split_of
from train.__main__ import main
from train.data.table import DataError
from train.evaluate.inference import BATCH_SIZE, PASTED_SIDE, evaluation_domains, pooled_features
from train.evaluate.metrics import mean_interval, single_label_metrics
from train.evaluate.predictions import predictions_digest, saved_predictions
from train.evaluate.split_metrics import read_metrics, split_metrics

EMPTY = "other_sources_without_products"


def evaluate(checkpoint, data, *more):
    return main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(data), "--device", "cpu", *more])


@pytest.fixture(scope="module")
def measured(evaluated_on_all, prepared):
    """Split → metrics."""
    assert evaluate(evaluated_on_all, prepared, "--split", "validation") == 0
    return read_metrics(evaluated_on_all)


@pytest.fixture(scope="module")
def classifier(evaluated_on_all):
    return FashionClassifier.from_pretrained(evaluated_on_all)


@pytest.fixture
def copied(evaluated_on_all, tmp_path):
    """A copy of the evaluated checkpoint, to be changed."""
    return shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")


def table_of(data, name, split="test"):
    table = pd.read_csv(data / name / f"{name}.csv", dtype=str, keep_default_na=False)
    return table[table["split"] == split]


def check_share(measured, hit, groups):
    assert measured["images"] == len(hit)
    assert measured["share"] == pytest.approx(np.mean(hit))
    assert measured["interval"] == pytest.approx(mean_interval(np.array(hit), groups))


def check(section, classifier, images, groups, accepted):
    """`accepted`: attribute name → a cell of accepted labels for each image; labels of others are unknown."""
    predictions = classifier.predict(images)
    assert (section["images"], section["groups"]) == (len(images), len(set(groups)))
    check_share(section["recognized"], [p.is_fashion for p in predictions], groups)
    known_attributes = set()
    for name, cells in accepted.items():
        labels = [set(cell.split("|")) & set(classifier.encoders.labels[name]) for cell in cells]
        known = [i for i, of_image in enumerate(labels) if of_image]
        if known:
            known_attributes.add(name)
            metrics, of_groups = section["attributes"][name], np.array(groups)[known]
            right = np.array([predictions[i][name].label in labels[i] for i in known])
            confidence = np.array([predictions[i][name].confidence for i in known])
            assert metrics["images"] == len(known)
            assert metrics["accuracy"] == pytest.approx(right.mean())
            assert metrics["accuracy_interval"] == pytest.approx(mean_interval(right, of_groups))
            assert metrics["confidence"] == pytest.approx(confidence.mean(), abs=1e-4)
    assert set(section["attributes"]) == known_attributes
    return predictions


def cells(table):
    return {name: list(table[f"{name}s"]) for name in NAMES if f"{name}s" in table}


def test_phone_photographs(measured, classifier, prepared):
    table, section = table_of(prepared, "phone"), measured["test"]
    images = [prepared / "phone" / "images" / f"{image}.jpg" for image in table["image"]]
    predictions = check(section["domains"]["phone"], classifier, images, list(table["sender"]), cells(table))
    coarse = [
        (prediction.product_type.label in COARSE[label], sender)
        for prediction, label, sender in zip(predictions, table["contributed_label"], table["sender"], strict=True)
        if label in COARSE
    ]
    check_share(section["coarse_label"], *zip(*coarse, strict=True))


def test_worn_products_are_boxes_and_a_fifth(measured, classifier, prepared):
    table, images = table_of(prepared, "worn"), []
    for row in table.itertuples():
        photograph = open_image(prepared / "worn" / "photographs" / row.photo)
        left, top, right, bottom = map(float, (row.left, row.top, row.right, row.bottom))
        margins = 0.2 * (right - left), 0.2 * (bottom - top)
        box = np.array([left - margins[0], top - margins[1], right + margins[0], bottom + margins[1]]).clip(0, 1)
        images.append(photograph.crop(tuple(map(round, box * [*photograph.size, *photograph.size]))))
    domains = measured["test"]["domains"]
    check(domains["worn"], classifier, images, list(table["shoot"]), cells(table))
    bag = table["tag"].isin(["purse", "bag"]).to_numpy()
    of_bag = [images[i] for i in np.flatnonzero(bag)]
    check(domains["worn_accessories"], classifier, of_bag, list(table["shoot"][bag]), cells(table[bag]))


def test_every_domain_of_a_split_is_measured(prepared):
    domains = {name: evaluation_domains(split_of(prepared, name)) for name in ("validation", "test")}
    common = {"thumbnails", "high_resolution", "phone", "worn", "on_model", "people", "everyday", "pasted"}
    assert {domain.name for domain in domains["test"]} == common
    assert {domain.name for domain in domains["validation"]} == common | {"other_sources", EMPTY}
    assert {domain.name for domain in domains["validation"] if not domain.is_fashion} == {"everyday", EMPTY}


def test_pasted_products(measured, classifier, prepared):
    split = split_of(prepared, "test")
    (pasted,) = [domain for domain in evaluation_domains(split) if domain.name == "pasted"]
    assert len(pasted) > 1
    assert all(max(image.size) == PASTED_SIDE for image in pasted)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(pasted, list(pasted), strict=True))
    rows = split.rows.set_index(split.rows["id"].astype(str)).loc[[path.stem for path in pasted.paths]]
    assert not set(rows["masterCategory"]) & {"Apparel", "Footwear"}
    accepted = {a.name: rows[a.column] for a in ATTRIBUTES}
    check(measured["test"]["domains"]["pasted"], classifier, list(pasted), list(rows["group"].astype(str)), accepted)


def test_catalogue(measured, classifier, prepared):
    rows = split_of(prepared, "test").rows
    folders = {"thumbnails": prepared / "images", "high_resolution": prepared / "high_resolution" / "images"}
    labels = {}
    for name, folder in folders.items():
        part = rows[[(folder / f"{i}.jpg").is_file() for i in rows["id"]]]
        section = measured["test"]["domains"][name]
        images, accepted = [folder / f"{i}.jpg" for i in part["id"]], {a.name: part[a.column] for a in ATTRIBUTES}
        predictions = check(section, classifier, images, list(part["group"].astype(str)), accepted)
        for attribute in ATTRIBUTES:
            of_attribute = classifier.encoders.labels[attribute.name]
            known = part[attribute.column].isin(of_attribute).to_numpy()
            probabilities = np.stack([p[attribute.name].probabilities for p in predictions])[known]
            targets = np.array([of_attribute.index(label) for label in part[attribute.column][known]])
            expected, metrics = single_label_metrics(probabilities, targets), section["attributes"][attribute.name]
            assert {key: metrics[key] for key in expected} == pytest.approx(expected, abs=1e-4)
        labels[name] = {i: [p[n].label for n in NAMES] for i, p in zip(part["id"], predictions, strict=True)}
    same = [np.equal(labels["thumbnails"][i], of_product) for i, of_product in labels["high_resolution"].items()]
    assert measured["test"]["agreement"] == pytest.approx(dict(zip(NAMES, np.mean(same, axis=0), strict=True)))


def test_card_and_terminal_show_the_metrics(evaluated_on_all, copied, prepared, measured, capsys):
    assert evaluate(copied, prepared) == 0
    printed, card = capsys.readouterr().out, (copied / "README.md").read_text(encoding="utf-8")
    domains = measured["test"]["domains"]
    shares = (
        domains["phone"]["attributes"]["color"]["accuracy"],
        domains["worn"]["recognized"]["share"],
        1 - domains["everyday"]["recognized"]["share"],
        domains["pasted"]["attributes"]["product_type"]["accuracy"],
        domains["thumbnails"]["attributes"]["season"]["macro_f1"],
        measured["test"]["coarse_label"]["share"],
    )
    assert all(f"{100 * share:.1f}" in text for share in shares for text in (printed, card))
    for sentence in ("each with a confidence that is not calibrated", "It was trained for ", "type: accuracy"):
        assert sentence in card
    assert (copied / "metrics.json").read_bytes() == (evaluated_on_all / "metrics.json").read_bytes()


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
    assert predictions_digest(copied, cleaned, "test") != predictions_digest(copied, prepared, "test")


def test_metrics_of_other_weights_are_not_read(copied, cleaned, measured):
    assert set(measured) == set(read_metrics(copied)) == {"test", "validation"}
    change(copied, fashion_threshold=3.0)
    with pytest.raises(CheckpointError, match="other weights or another calibration"):
        read_metrics(copied)
    assert evaluate(copied, cleaned, "--split", "validation") == 0
    assert set(read_metrics(copied)) == {"validation"}  # those of the test split had another threshold
    loaded = load_checkpoint(copied)
    reordered = LabelEncoders({name: labels[::-1] for name, labels in loaded.encoders.labels.items()})
    reordered.save(copied / "label_encoders.json", loaded.config.attributes)
    with pytest.raises(CheckpointError, match="other weights or another calibration"):
        read_metrics(copied)
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
    assert evaluate(checkpoint, data) == 0
    assert "trained on: 2 rows" in capsys.readouterr().out
    assert read_metrics(checkpoint)["test"]["domains"]["thumbnails"]["images"] == 8
    assert "It was not trained on any catalogue image measured" in (checkpoint / "README.md").read_text()
    (checkpoint / "trained_on.txt").unlink()
    assert evaluate(checkpoint, data) == 0
    assert "whether it was trained on these pictures is not known" in capsys.readouterr().out
    assert "It is not known whether it was trained on images measured" in (checkpoint / "README.md").read_text()


@pytest.mark.parametrize("domain", ["images", "worn/photographs"])
def test_image_that_cannot_be_read_is_named(domain, trained, prepared, tmp_path, capsys):
    checkpoint, data = shutil.copytree(trained, tmp_path / "run"), shutil.copytree(prepared, tmp_path / "data")
    paths = {path for d in evaluation_domains(split_of(data, "test")) for path in d.paths}
    broken = min(path for path in paths if path.is_relative_to(data / domain))
    broken.write_bytes(broken.read_bytes()[:200])
    assert evaluate(checkpoint, data) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"evaluate: {broken}: The image is damaged or cut off."


class Photographs:
    """The last one may not be readable; `by_workers` says which were read by worker processes."""

    def __init__(self, count, readable=True):
        self.by_workers = []
        self.paths = sorted((TEST_SPLIT / "images").iterdir())[:count]
        self.readable = readable

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if index == len(self) - 1 and not self.readable:
            raise DataError("the last photograph cannot be read")
        self.by_workers.append(get_worker_info() is not None)
        return open_image(self.paths[index])


def test_workers_give_the_same_features_as_none(tiny_model):
    features = pooled_features(tiny_model, Photographs(2 * BATCH_SIZE + 1), workers=0)
    assert len(features) == 2 * BATCH_SIZE + 1
    assert torch.equal(pooled_features(tiny_model, Photographs(2 * BATCH_SIZE + 1), workers=2), features)
    single_batch = Photographs(BATCH_SIZE)
    pooled_features(tiny_model, single_batch, workers=2)
    assert single_batch.by_workers == [False] * BATCH_SIZE


@pytest.mark.parametrize("workers", [0, 2])
def test_error_of_a_worker_is_its_sentence(tiny_model, workers):
    with pytest.raises(DataError, match=r"^the last photograph cannot be read$"):
        pooled_features(tiny_model, Photographs(BATCH_SIZE + 1, readable=False), workers)
