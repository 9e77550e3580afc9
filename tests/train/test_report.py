"""`train report` of the embedded default on real photographs, and its parts on made-up predictions."""

import json
import shutil
from base64 import b64decode
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES
from tests.train.conftest import HOSTILE, run
from train.data.table import read_table
from train.evaluate.predictions import saved_predictions
from train.evaluate.split_metrics import read_metrics
from train.evaluate.tables import accuracy_table


def parse(folder):
    """The page as a tree; ParseError unless every tag is closed and all text is escaped."""
    return ElementTree.fromstring((folder / "report.html").read_text(encoding="utf-8"))


def cells(table):
    """A list for each row."""
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def image_of(img):
    return open_image(b64decode(img.get("src").partition(",")[2]))


def product_of(figure):
    return int(figure.findtext("figcaption").split(":")[0])


def read(path):
    return pd.read_csv(path, keep_default_na=False, na_values={"precision": [""], "recall": [""]})


@pytest.fixture(scope="module")
def page(reported):
    return parse(reported)


@pytest.fixture(scope="module")
def truth(measured, classifier):
    """Attribute → label, prediction and probabilities of each photograph, from `FashionClassifier.predict`."""
    table = read_table(measured).astype({"id": int})
    rows = table[table["split"] == "test"].reset_index(drop=True)
    images = classifier.predict([measured / "images" / f"{product}.jpg" for product in rows["id"]])
    tables = {}
    for a in ATTRIBUTES:
        labels, predictions = rows[a.column], [image[a.name] for image in images]
        tables[a.name] = rows.assign(
            label=labels,
            prediction=[p.label for p in predictions],
            confidence=[p.confidence for p in predictions],
            of_label=[dict(p.top(200)).get(label, 0.0) for p, label in zip(predictions, labels, strict=True)],
        )
        tables[a.name]["right"] = tables[a.name]["label"] == tables[a.name]["prediction"]
    return tables


@pytest.mark.parametrize("name", NAMES)
def test_class_metrics_match_predictions(reported, truth, name):
    rows, classes = truth[name], read(reported / f"classes_{name}.csv")
    document = json.loads((reported / "classes.json").read_text(encoding="utf-8"))["attributes"][name]["classes"]
    labels = rows["label"], rows["prediction"]
    assert set(classes["label"]) == set(document) == set().union(*labels)
    expected = precision_recall_fscore_support(*labels, labels=classes["label"], zero_division=np.nan)
    np.testing.assert_allclose(classes[["precision", "recall", "f1", "support"]].to_numpy(float).T, expected)
    for c in classes.itertuples():
        entry = document[c.label]
        shown = [None if np.isnan(share) else pytest.approx(share, abs=1e-4) for share in (c.precision, c.recall)]
        assert [entry["images"], entry["precision"], entry["recall"]] == [c.support, *shown]
        counts = rows.loc[(rows["label"] == c.label) & ~rows["right"], "prediction"].value_counts()
        assert dict(entry["predicted_as"]).items() <= dict(counts).items()


def test_slices_match_predictions(reported, truth):
    slices, rows = read(reported / "slices.csv"), truth["product_type"]
    for kind, names in (("gender and season", rows["gender"] + ", " + rows["season"]), ("year", rows["year"])):
        parts = slices[(slices["kind"] == kind) & (slices["attribute"] == "product_type")].set_index("slice")
        expected = rows["right"].groupby(names).agg(["size", "mean"])
        assert parts["images"].to_dict() == expected["size"].to_dict()
        assert parts["accuracy"].to_dict() == pytest.approx(expected["mean"].to_dict())
        assert parts["accuracy"].between(parts["low"], parts["high"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_label_errors_are_confident(reported, truth, name):
    rows, errors = truth[name], read(reported / f"label_errors_{name}.csv")
    mean = rows.groupby("label")["of_label"].mean()
    expected = rows[~rows["right"] & (rows["confidence"] >= rows["prediction"].map(mean))].set_index("id")
    assert set(errors["id"]) == set(expected.index)
    margin = errors["id"].map(expected["confidence"] - expected["of_label"])
    assert (margin.diff().dropna() <= 1e-4).all()


def test_photographs_are_of_their_products(page, measured, truth):
    for figure in page.iter("figure"):
        shown, original = image_of(figure[0]), open_image(measured / "images" / f"{product_of(figure)}.jpg")
        assert shown.size == original.size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(original)).mean() < 10
    pairs = {(row.id, row.label, row.prediction) for rows in truth.values() for row in rows.itertuples()}
    examples = [(product_of(f), row[0].text, row[1].text) for row in page.iter("tr") for f in row.iter("figure")]
    assert len(examples) > 20
    assert set(examples) <= pairs


def test_page_is_one_bounded_file_without_scripts(page, reported):
    elements = list(page.iter())
    assert not {e.tag for e in elements} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [name for e in elements for name in e.attrib if name.startswith("on")]
    assert all(e.get("src", "data:image/").startswith("data:image/") for e in elements)
    assert HOSTILE in {cell for table in page.iter("table") for row in cells(table) for cell in row}
    assert (reported / "report.html").stat().st_size < 1_000_000


def test_all_figures_are_drawn(page):
    figures = {img.get("alt"): image_of(img) for img in page.iter("img") if img.get("alt")}
    kinds = ("confusion matrix", "reliability diagram")
    assert set(figures) == {f"{a.title}: {kind}" for a in ATTRIBUTES for kind in kinds}
    assert all(np.asarray(figure.convert("L")).std() > 3 for figure in figures.values())


def test_report_is_written_beside_the_checkpoint(evaluated_on_all, prepared, tmp_path):
    """It has how often photographs of the other domains accept each answer."""
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert run("report", checkpoint, prepared) == 0
    rows = {tuple(row) for table in parse(checkpoint / "report").iter("table") for row in cells(table)}
    table = accuracy_table(ATTRIBUTES, read_metrics(checkpoint)["test"])
    assert len(table)
    assert set(table.itertuples(index=False, name=None)) <= rows
    classes = json.loads((checkpoint / "report" / "classes.json").read_text(encoding="utf-8"))["attributes"]["color"]
    predictions = saved_predictions(checkpoint, prepared, "test")
    phone, labels = predictions.domains["phone"], predictions.encoders.labels["color"]
    predicted, accepted = phone.predicted["color"], phone.accepted["color"]
    for i, count in Counter(predicted[accepted.any(axis=1)]).items():
        if labels[i] in classes["classes"]:
            counts = {"images": count, "accepted": accepted[predicted == i, i].sum()}
            assert classes["classes"][labels[i]]["phone"] == counts


def test_attributes_without_labels_are_reported(measured, tmp_path, capsys):
    """No image has a season, all genders are unknown to the network, and one of several colors is accepted."""
    checkpoint, data = shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "checkpoint"), tmp_path / "data"
    data.mkdir()
    (data / "images").symlink_to(measured / "images")
    table = pd.read_csv(measured / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    table = table.groupby("split").head(12)
    table.loc[table["split"] != "train", ["season", "gender", "baseColour"]] = ["", "Robots", "Purple|Red|Blue|Black"]
    table.to_csv(data / "cleaned_styles.csv", index=False)
    assert all(run(command, checkpoint, data) == 0 for command in ("calibrate", "evaluate", "report"))
    assert "| Season" not in capsys.readouterr().out
    sections = {part.get("id"): "".join(part.itertext()) for part in parse(checkpoint / "report").iter("section")}
    assert "No thumbnail of the test split has a label." in sections["attribute-season"]
    genders = read(checkpoint / "report" / "classes_gender.csv").set_index("label")
    assert (genders["support"]["Robots"], genders["recall"]["Robots"]) == (12, 0)
    colors = read(checkpoint / "report" / "classes_color.csv").set_index("label")
    accepted = [color for color in ("Red", "Blue", "Black") if color in colors.index]
    assert accepted
    assert (colors["recall"][accepted] == 1).all()
