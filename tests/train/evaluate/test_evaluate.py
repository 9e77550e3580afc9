"""What `train evaluate` measures is what FashionClassifier predicts."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from train.evaluate.partial_labels import group_interval
from train.evaluate.perturbations import COPIES, NEED_MASK, PERTURBATIONS

from data_prep.phone_photographs import COARSE
from data_prep.photographs import source_group
from fashion_model import FashionClassifier
from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import CheckpointError, load_checkpoint
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES
from train.__main__ import main
from train.data.foreground import product_mask
from train.data.table import read_table, rows_of_split
from train.evaluate.domains import PASTED_SIDE, evaluation_domains
from train.evaluate.metrics import LabeledPredictions, classification_metrics
from train.evaluate.predictions import predictions_digest, saved_predictions
from train.evaluate.split_metrics import read_metrics, split_metrics


def evaluate(checkpoint, data, *more):
    return main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(data), "--device", "cpu", *more])


@pytest.fixture(scope="module")
def measured(evaluated_on_all):
    return read_metrics(evaluated_on_all).splits["test"]


@pytest.fixture(scope="module")
def asked(evaluated_on_all):
    return FashionClassifier.from_pretrained(evaluated_on_all)


@pytest.fixture(scope="module")
def rows(prepared):
    return rows_of_split(read_table(prepared), "test")


def table_of(data, domain, split="test"):
    table = pd.read_csv(data / domain / f"{domain}.csv", dtype=str, keep_default_na=False)
    return table[table["split"] == split]


def check_share(found, hit, groups):
    hit = np.array(hit)
    assert found["images"] == len(hit)
    assert found["share"] == pytest.approx(hit.mean())
    assert found["interval"] == pytest.approx(group_interval(hit, groups))


def check_photographs(found, predictions, accepted, groups):
    """`accepted`: attribute name → the accepted labels of each image, none if unknown."""
    assert found["images"] == len(predictions)
    assert found["groups"] == len(set(groups))
    for name, labels in accepted.items():
        known = np.array([bool(of_image) for of_image in labels])
        assert (name in found["attributes"]) == known.any()
        if known.any():
            right = np.array([p[name].label in of for p, of in zip(predictions, labels, strict=True)])[known]
            metrics = found["attributes"][name]
            assert metrics["images"] == known.sum()
            assert metrics["accuracy"] == pytest.approx(right.mean())
            assert metrics["accuracy_interval"] == pytest.approx(group_interval(right, np.array(groups)[known]))
            confidence = np.array([p[name].confidence for p in predictions])[known]
            assert metrics["confidence"] == pytest.approx(confidence.mean(), abs=1e-4)
    check_share(found["recognized"], [p.is_fashion for p in predictions], groups)


def accepted_labels(table, encoders):
    columns = {name: table[f"{name}s"] for name in NAMES if f"{name}s" in table}
    return {
        name: [set(cell.split("|")) & set(encoders.labels[name]) for cell in column] for name, column in columns.items()
    } | {"season": [set()] * len(table)}


def test_the_metrics_of_phone_photographs(measured, asked, prepared):
    table = table_of(prepared, "phone")
    predictions = asked.predict([prepared / "phone" / "images" / f"{image}.jpg" for image in table["image"]])
    assert 20 < len(table) < 128
    check_photographs(measured.phone, predictions, accepted_labels(table, asked.encoders), list(table["sender"]))
    labeled = table["contributed_label"].isin(COARSE).to_numpy()
    met = [
        p.product_type.label in COARSE.get(label, ())
        for p, label in zip(predictions, table["contributed_label"], strict=True)
    ]
    check_share(measured.phone["coarse_label"], np.array(met)[labeled], table["sender"].to_numpy()[labeled])
    by_label = measured.phone["coarse_label"]["by_label"]
    counts = table["contributed_label"][labeled].value_counts().to_dict()
    assert {label: found["images"] for label, found in by_label.items()} == counts


def test_the_metrics_of_studio_photographs(measured, asked, prepared):
    table = table_of(prepared, "on_model")
    held_out = table["type"].isin(["Bags", "Watches"])
    assert held_out.sum() == 4
    for found, part in ((measured.bags_and_watches, table[held_out]), (measured.clothes_on_models, table[~held_out])):
        assert bool(found) == bool(len(part))
        if len(part):
            predictions = asked.predict([prepared / "on_model" / "images" / image for image in part["image"]])
            check_photographs(found, predictions, accepted_labels(part, asked.encoders), list(part["style"]))


def test_the_metrics_of_pasted_products(measured, asked, prepared, rows):
    domains = {d.name: d for d in evaluation_domains(prepared, "test", rows, asked.attributes, asked.encoders)}
    pasted = domains["pasted"]
    assert len(pasted) > 1
    assert all(max(image.size) == PASTED_SIDE for image in pasted)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(pasted, list(pasted), strict=True))
    shown = rows.set_index("id").loc[[int(path.stem) for path in pasted.paths]]
    assert not set(shown["masterCategory"]) & {"Apparel", "Footwear"}
    accepted = {a.name: [{label} & set(asked.encoders.labels[a.name]) for label in shown[a.column]] for a in ATTRIBUTES}
    check_photographs(measured.pasted, asked.predict(list(pasted)), accepted, list(shown["group"].astype(str)))


def test_the_metrics_of_images_without_fashion(measured, asked, prepared):
    paths = sorted((prepared / "everyday" / "test").iterdir())
    rejected = np.array([not p.is_fashion for p in asked.predict(paths)])
    groups = np.array([source_group(path.name) for path in paths])
    assert len(set(groups)) < len(paths)
    check_share(measured.everyday["rejected"], rejected, groups)
    sources = np.array([path.name.split("-")[0] for path in paths])
    for source, found in measured.everyday["by_source"].items():
        check_share(found, rejected[sources == source], groups[sources == source])
    drawn = sorted((prepared / "negatives" / "test").iterdir())
    rejected = {path.stem.split("-")[0]: not p.is_fashion for path, p in zip(drawn, asked.predict(drawn), strict=True)}
    expected = {kind: {"images": 1, "share": float(hit)} for kind, hit in rejected.items()}
    assert measured.negatives == expected | {
        "mean": {"images": len(drawn), "share": pytest.approx(np.mean(list(rejected.values())))}
    }


def test_the_metrics_of_the_catalogue(measured, asked, prepared, rows):
    photographed = rows[[(prepared / "high_resolution" / "images" / f"{i}.jpg").is_file() for i in rows["id"]]]
    folder = prepared / "high_resolution" / "images"
    for found, part, images in (
        (measured.thumbnails, rows, prepared / "images"),
        (measured.high_resolution, photographed, folder),
    ):
        predictions = asked.predict([images / f"{i}.jpg" for i in part["id"]])
        assert found["images"] == len(part)
        assert found["recognized"] == pytest.approx(np.mean([p.is_fashion for p in predictions]))
        for attribute in ATTRIBUTES:
            labels = asked.encoders.labels[attribute.name]
            known = part[attribute.column].isin(labels).to_numpy()
            targets = np.array([labels.index(label) for label in part[attribute.column][known]])
            p = np.stack([p[attribute.name].probabilities for p in predictions])[known]
            expected = classification_metrics(LabeledPredictions.of(p, targets))
            metrics = found["attributes"][attribute.name]
            assert {key: metrics[key] for key in expected} == pytest.approx(expected, abs=1e-4)
            assert metrics["images"] == known.sum()
            assert set(metrics["intervals"]) == set(expected)
        assert found["nll_sum"] == pytest.approx(sum(found["attributes"][name]["nll"] for name in NAMES))
    check_copies(measured, asked, prepared, photographed)


def check_copies(measured, asked, prepared, rows):
    paths = [prepared / "high_resolution" / "images" / f"{i}.jpg" for i in rows["id"]]
    images, products = [open_image(path) for path in paths], list(rows["id"])
    reference = asked.predict(images)
    copies = {"thumbnail": asked.predict([prepared / "images" / f"{i}.jpg" for i in products])}
    copies |= {
        name: asked.predict([perturb(image, i) for image, i in zip(images, products, strict=True)])
        for name, perturb in COPIES.items()
    }
    assert set(measured.agreement) == {*copies, "all"}
    for name in NAMES:
        same = {
            copy: [a[name].label == b[name].label for a, b in zip(reference, of_copy, strict=True)]
            for copy, of_copy in copies.items()
        }
        same["all"] = np.all(list(same.values()), axis=0)
        found = {copy: of_copy[name] for copy, of_copy in measured.agreement.items()}
        assert found == {copy: pytest.approx(np.mean(of_copy)) for copy, of_copy in same.items()}
    for name, perturb in PERTURBATIONS.items():
        used = [n for n, image in enumerate(images) if name not in NEED_MASK or product_mask(image) is not None]
        found = measured.perturbations.get(name, {"images": 0})
        assert found["images"] == len(used)
        predictions = asked.predict([perturb(images[n], products[n]) for n in used])
        for attribute in ATTRIBUTES if used else ():
            labels = rows[attribute.column].iloc[used]
            known = [label in asked.encoders.labels[attribute.name] for label in labels]
            right = [p[attribute.name].label == label for p, label in zip(predictions, labels, strict=True)]
            assert found[attribute.name] == pytest.approx(np.array(right)[known].mean())


def test_the_card_and_the_terminal_show_the_metrics(evaluated_on_all, prepared, measured, capsys, tmp_path):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert evaluate(checkpoint, prepared) == 0
    printed = capsys.readouterr().out
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    shares = (
        measured.phone["attributes"]["color"]["accuracy"],
        measured.phone["coarse_label"]["share"],
        measured.bags_and_watches["recognized"]["share"],
        measured.pasted["attributes"]["product_type"]["accuracy"],
        measured.everyday["rejected"]["share"],
        measured.thumbnails["attributes"]["season"]["accuracy"],
    )
    for text in (printed, card):
        assert f"by {measured.phone['groups']} people" in text
        assert all(f"{100 * share:.1f} (" in text for share in shares)
        assert "rotated by 7°" in text
    assert "each with a confidence that is not calibrated" in card
    assert (checkpoint / "metrics.json").read_bytes() == (evaluated_on_all / "metrics.json").read_bytes()


def test_predictions_are_saved_once_and_read_as_long_as_they_belong_to_the_weights(
    evaluated_on_all, prepared, cleaned, tmp_path
):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    path = checkpoint / "predictions" / "test.safetensors"
    written = path.stat().st_mtime_ns
    found = saved_predictions(checkpoint, prepared, "test")
    assert split_metrics(found, prepared) == read_metrics(checkpoint).splits["test"]
    change(checkpoint, temperatures=dict.fromkeys(NAMES, 2.0), fashion_threshold=1.0)
    recalibrated = saved_predictions(checkpoint, prepared, "test")
    assert path.stat().st_mtime_ns == written
    assert recalibrated.config.fashion_threshold == 1.0
    before = predictions_digest(checkpoint, prepared, "test")
    change(checkpoint, image_size=[72, 72])
    assert predictions_digest(checkpoint, prepared, "test") != before
    other = saved_predictions(checkpoint, prepared, "test")
    assert predictions_digest(checkpoint, cleaned, "test") != predictions_digest(checkpoint, prepared, "test")
    assert path.stat().st_mtime_ns > written
    assert not np.allclose(other.domains["thumbnails"].fashion_scores, found.domains["thumbnails"].fashion_scores)


def change(checkpoint, **values):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_metrics_of_another_calibration_or_other_labels_are_not_read(evaluated_on_all, prepared, tmp_path):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert evaluate(checkpoint, prepared, "--split", "validation") == 0
    assert set(read_metrics(checkpoint).splits) == {"test", "validation"}
    loaded = load_checkpoint(checkpoint)
    change(checkpoint, fashion_threshold=3.0)
    with pytest.raises(CheckpointError, match="other weights or another calibration"):
        read_metrics(checkpoint)
    assert evaluate(checkpoint, prepared, "--split", "validation") == 0
    assert set(read_metrics(checkpoint).splits) == {
        "validation"
    }  # those of the test split belonged to another threshold
    LabelEncoders({n: (*labels[::-1],) for n, labels in loaded.encoders.labels.items()}).save(
        checkpoint / "label_encoders.json", loaded.config.attributes
    )
    with pytest.raises(CheckpointError, match="other weights or another calibration"):
        read_metrics(checkpoint)
    (checkpoint / "metrics.json").write_text('{"splits": 1}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_metrics(checkpoint)


def test_pictures_that_were_trained_on_are_left_out(trained, cleaned, tmp_path, capsys):
    table = pd.read_csv(cleaned / "cleaned_styles.csv")
    twins = table[table["group"].duplicated(keep=False)]
    table.loc[table["group"] == twins["group"].iloc[0], "split"] = "test"  # both were in training
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "images").symlink_to(cleaned / "images")
    table.to_csv(moved / "cleaned_styles.csv", index=False)
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    assert evaluate(checkpoint, moved) == 0
    assert "trained on: 2 rows" in capsys.readouterr().out
    assert read_metrics(checkpoint).splits["test"].thumbnails["images"] == 8


def test_the_card_says_whether_it_knows_what_was_trained_on(trained, cleaned, tmp_path):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    assert evaluate(checkpoint, cleaned) == 0
    known = "It was not trained on any catalogue image measured below;"
    assert known in (checkpoint / "README.md").read_text(encoding="utf-8")
    (checkpoint / "trained_on.txt").unlink()
    assert evaluate(checkpoint, cleaned) == 0
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert known not in card
    assert "It is not known whether it was trained on images measured below." in card


@pytest.mark.parametrize("domain", ["images", "high_resolution/images", "phone/images", "everyday/test"])
def test_an_image_that_cannot_be_read_is_named(domain, evaluated_on_all, prepared, tmp_path, capsys):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    data = shutil.copytree(prepared, tmp_path / "data")
    names = {path for d in read_domains(checkpoint, data) for path in d.paths if path.is_relative_to(data / domain)}
    broken = min(names)
    broken.write_bytes(broken.read_bytes()[:200])
    assert evaluate(checkpoint, data) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"evaluate: {broken}: The image is damaged or cut off."


def read_domains(checkpoint, data):
    loaded, rows = load_checkpoint(checkpoint), rows_of_split(read_table(data), "test")
    return evaluation_domains(data, "test", rows, loaded.config.attributes, loaded.encoders)
