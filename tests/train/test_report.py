"""`train report` of the embedded default on real photographs, and its parts on made-up predictions."""

import json
import shutil
from base64 import b64decode
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES
from tests.train.conftest import HOSTILE
from train.__main__ import main
from train.data.table import read_table
from train.evaluate.predictions import saved_predictions
from train.evaluate.split_metrics import read_metrics
from train.evaluate.tables import accuracy_table, confidence_table, single_label_table
from train.report.analysis import AttributeAnalysis, accuracy_by_slice, weakest_slice
from train.report.page import MATRIX_CLASSES, matrix_figure, slice_table


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
    assert set(classes["label"]) == {*rows["label"], *rows["prediction"]}
    assert classes["support"].is_monotonic_decreasing
    for c in classes.itertuples():
        labeled, predicted = rows["label"] == c.label, rows["prediction"] == c.label
        right = (labeled & predicted).sum()
        assert (c.support, c.predicted) == (labeled.sum(), predicted.sum())
        expected = [right / count if count else np.nan for count in (c.predicted, c.support)]
        assert [c.precision, c.recall] == pytest.approx(expected, nan_ok=True)
        assert c.f1 == pytest.approx(2 * right / (c.support + c.predicted))
        entry = document[c.label]
        assert entry["images"] == c.support
        shown = [None if np.isnan(share) else pytest.approx(share, abs=1e-4) for share in (c.precision, c.recall)]
        assert [entry["precision"], entry["recall"]] == shown
        for confused, mask, other in (("predicted_as", labeled, "prediction"), ("confused_from", predicted, "label")):
            counts = rows.loc[mask & ~rows["right"], other].value_counts()
            assert [count for _, count in entry[confused]] == counts.head(3).tolist()
            assert all(counts[text] == count for text, count in entry[confused])


@pytest.mark.parametrize("name", NAMES)
def test_confusions_match_predictions(reported, page, truth, name):
    rows, confusions = truth[name], read(reported / f"confusions_{name}.csv")
    expected = Counter((r.label, r.prediction) for r in rows.itertuples() if not r.right)
    assert {(c.label, c.prediction): c.count for c in confusions.itertuples()} == expected
    assert confusions["count"].is_monotonic_decreasing
    assert all(c.share == pytest.approx(c.count / (rows["label"] == c.label).sum()) for c in confusions.itertuples())
    frequent = confusions.head(20)[["label", "prediction", "count"]].astype(str).to_numpy().tolist()
    assert frequent in [[row[:3] for row in cells(table)[1:]] for table in page.iter("table")]


def test_slices_match_predictions(reported, truth):
    slices = read(reported / "slices.csv")
    for name in ("product_type", "season", "gender"):
        rows = truth[name]
        for kind, names in (("gender and season", rows["gender"] + ", " + rows["season"]), ("year", rows["year"])):
            parts = slices[(slices["kind"] == kind) & (slices["attribute"] == name)].set_index("slice")
            expected = rows["right"].groupby(names).agg(["size", "mean"])
            assert parts["images"].to_dict() == expected["size"].to_dict()
            assert parts["accuracy"].to_dict() == pytest.approx(expected["mean"].to_dict())
            assert parts["accuracy"].between(parts["low"], parts["high"]).all()


def test_slices_by_frequency_are_marked():
    attribute = ATTRIBUTES[NAMES.index("product_type")]
    counts = {"A": 19, "B": 20, "C": 99, "D": 100, "E": 499, "F": 500} | {f"other {i:02}": 1 for i in range(20)}
    training = pd.DataFrame({"articleType": [kind for kind, count in counts.items() for _ in range(count)]})
    rows = pd.DataFrame({"articleType": [kind for kind in "ABCDEF" for _ in range(30)]})
    table = pd.concat([rows.assign(split="test", year=""), training.assign(split="train", year="2012")])
    table = table.reset_index(drop=True)
    images = pd.DataFrame({"label": rows["articleType"], "prediction": rows["articleType"].replace("F", "A")})
    slices = accuracy_by_slice([AttributeAnalysis(attribute, tuple(counts), images, *[pd.DataFrame()] * 4)], table)
    parts = slices.set_index(["kind", "slice"])["images"]
    frequency = "training images with the same product type"
    assert parts[frequency].to_dict() == {"below 20": 30, "20–99": 60, "100–499": 60, "500 and more": 30}
    assert parts["year"].to_dict() == {"unknown": 180}
    assert weakest_slice(slices, "product_type")["slice"] == "500 and more"
    shown = slice_table(slices[slices["kind"] == frequency], slices, {"product_type": "Type", "color": "Color"})
    assert shown[frequency].tolist() == ["below 20", "20–99", "100–499", "500 and more"]
    assert [text[:9] for text in shown["Type"]] == ["▲ 100.0 (", "▲ 100.0 (", "▲ 100.0 (", "▼ 0.0 (0."]
    assert set(shown["Color"]) == {""}


@pytest.mark.parametrize("name", NAMES)
def test_label_errors_are_confident(reported, truth, name):
    rows, errors = truth[name], read(reported / f"label_errors_{name}.csv")
    mean = rows.groupby("label")["of_label"].mean()
    expected = rows[~rows["right"] & (rows["confidence"] >= rows["prediction"].map(mean))].set_index("id")
    assert set(errors["id"]) == set(expected.index)
    margin = errors["id"].map(expected["confidence"] - expected["of_label"])
    assert (margin.diff().dropna() <= 1e-4).all()


def test_picture_with_two_labels_is_listed(reported):
    rows, errors = read(reported / "same_picture_color.csv"), read(reported / "label_errors_color.csv")
    assert rows["picture"].nunique() == 1
    assert rows["label"].tolist() == ["Red", "Black"]
    twins = errors["id"].isin(rows["id"])
    assert twins.any()
    assert errors["same_picture"].tolist() == ["Black, Red" if twin else "" for twin in twins]


def test_photographs_are_of_their_products(page, reported, measured, truth):
    for figure in page.iter("figure"):
        shown, original = image_of(figure[0]), open_image(measured / "images" / f"{product_of(figure)}.jpg")
        assert shown.size == original.size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(original)).mean() < 10
    pairs = {(row.id, row.label, row.prediction) for rows in truth.values() for row in rows.itertuples()}
    examples = [(product_of(f), row[0].text, row[1].text) for row in page.iter("tr") for f in row.iter("figure")]
    assert len(examples) > 20
    assert set(examples) <= pairs
    label_errors = [product_of(f) for part in page.findall("body/section/div") for f in part.findall("figure")]
    assert label_errors == [i for name in NAMES for i in read(reported / f"label_errors_{name}.csv")["id"].head(60)]


def test_page_is_one_bounded_file_without_scripts(page, reported):
    elements = list(page.iter())
    assert not {e.tag for e in elements} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [name for e in elements for name in e.attrib if name.startswith("on")]
    assert all(e.get("src", "data:image/").startswith("data:image/") for e in elements)
    anchors = {e.get("id") for e in page.iter("section")}
    assert {e.get("href") for e in page.iter("a")} == {f"#{anchor}" for anchor in anchors}
    assert len(anchors) == 2 + len(NAMES)
    assert not {"url(", "@import"} & set(page.findtext("head/style").split())
    assert (reported / "report.html").stat().st_size < 1_000_000


def test_all_figures_are_drawn_and_labels_are_text(page):
    figures = {img.get("alt"): image_of(img) for img in page.iter("img") if img.get("alt")}
    kinds = ("confusion matrix", "reliability diagram")
    assert set(figures) == {f"{a.title}: {kind}" for a in ATTRIBUTES for kind in kinds}
    assert all(np.asarray(figure.convert("L")).std() > 3 for figure in figures.values())
    assert HOSTILE in {cell for table in page.iter("table") for row in cells(table) for cell in row}


def classes_in_matrix(pairs):
    """Class names and size in pixels of the matrix of (label, prediction) → count."""
    images = pd.DataFrame([pair for pair, count in pairs.items() for _ in range(count)])
    figure = matrix_figure(images[0], images[1])
    ticks = figure.axes[0].yaxis.get_major_ticks()
    return [tick.label1.get_text() for tick in ticks], figure.get_size_inches() * 110


def test_confused_classes_are_neighbors():
    labels = [f"class {i:03}" for i in np.random.default_rng(0).permutation(143)]
    twins = list(zip(labels[::2], labels[1::2], strict=False))
    pairs = dict.fromkeys(twins, 5) | {twin[::-1]: 3 for twin in twins} | {(label, label): 20 for label in labels}
    names, _ = classes_in_matrix(pairs)
    assert sorted(names) == sorted(labels)
    assert all(abs(names.index(a) - names.index(b)) == 1 for a, b in twins)


def test_matrix_of_many_classes_is_bounded():
    right = {(f"class {i:03}", f"class {i:03}"): 2 for i in range(400)}
    names, size = classes_in_matrix(right | {("class 007", "class 399"): 1, ("class 399", "x" * 999): 1})
    assert len(names) == MATRIX_CLASSES
    assert {"class 007", "class 399", "x" * 31 + "…"} < set(names)
    assert max(size) < 2600


def test_report_is_written_beside_the_checkpoint(evaluated_on_all, prepared, tmp_path, capsys):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert main(["report", "--checkpoint", str(checkpoint), "--data", str(prepared), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(checkpoint / "report" / "report.html")
    rows = {tuple(row) for table in parse(checkpoint / "report").iter("table") for row in cells(table)}
    metrics = read_metrics(checkpoint)["test"]
    thumbnails = single_label_table(ATTRIBUTES, metrics["domains"]["thumbnails"], "")
    for table in (accuracy_table(ATTRIBUTES, metrics), confidence_table(ATTRIBUTES, metrics), thumbnails):
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
    (checkpoint / "trained_on.txt").unlink()
    data.mkdir()
    (data / "images").symlink_to(measured / "images")
    table = pd.read_csv(measured / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    for split, count in (("test", 12), ("validation", 6)):
        table.loc[table.index[table["split"] == split][count:], "split"] = "train"
    table.loc[table["split"] != "train", ["season", "gender", "baseColour"]] = ["", "Robots", "Purple|Red|Blue|Black"]
    table.to_csv(data / "cleaned_styles.csv", index=False)
    where = ["--checkpoint", str(checkpoint), "--data", str(data), "--device", "cpu"]
    for command in ("calibrate", "evaluate", "report"):
        assert main([command, *where]) == 0, command
    assert "| Season" not in capsys.readouterr().out
    page = parse(checkpoint / "report")
    sections = {section.get("id"): "".join(section.itertext()) for section in page.iter("section")}
    assert "It is not known whether the checkpoint was trained on some of the images" in sections["summary"]
    assert "No thumbnail of the test split has a label." in sections["attribute-season"]
    assert "No thumbnail" not in sections["attribute-gender"]
    genders = read(checkpoint / "report" / "classes_gender.csv").set_index("label")
    assert (genders["support"]["Robots"], genders["recall"]["Robots"]) == (12, 0)
    colors = read(checkpoint / "report" / "classes_color.csv").set_index("label")
    accepted = [color for color in ("Red", "Blue", "Black") if color in colors.index]
    assert accepted
    assert (colors["recall"][accepted] == 1).all()
    assert set(colors.index[colors["support"] > 0]) <= {"Purple", *accepted}


@pytest.mark.parametrize(
    ("option", "message"), [("--checkpoint", "is not a directory"), ("--data", "data_prep catalogue")]
)
def test_unusable_path_exits_with_a_message(measured, tmp_path, capsys, option, message):
    (tmp_path / "file").write_text("")
    paths = {"--checkpoint": DEFAULT_CHECKPOINT, "--data": measured} | {option: tmp_path / "file"}
    assert main(["report", *(str(word) for pair in paths.items() for word in pair)]) == 2
    assert message in capsys.readouterr().err
