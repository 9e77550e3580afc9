"""`train report` of the embedded default on real photographs, and its parts on made-up predictions."""

import io
import json
import shutil
from base64 import b64decode
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashion_model.attributes import LabelEncoders
from fashion_model.images import open_image
from fashion_model.models.config import ModelConfig
from tests.conftest import ATTRIBUTES, NAMES, TINY
from tests.train.conftest import HOSTILE
from train.__main__ import main
from train.evaluate.predictions import DomainPredictions, SplitPredictions, saved_predictions
from train.evaluate.split_metrics import read_metrics
from train.evaluate.tables import catalogue_rows, photograph_rows
from train.report.confusion import BLOCK, Confusion, confusions
from train.report.document import Table
from train.report.drawing import zooms
from train.report.sections import by_slice
from train.report.slices import accuracy_by_slice, weakest

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements with their attributes, the cells of all tables, all text; an AssertionError for a tag left open.

    `figures`: the picture of each, its caption, and the table's row that it stands in, or None.
    """

    def __init__(self, html):
        super().__init__()
        self.elements, self.tables, self.figures, self.text, self._open = [], [], [], "", []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "figure":
            self.figures.append(["", "", self.tables[-1][-1] if "table" in self._open else None])
        elif tag == "img" and self._open[-1] == "figure":
            self.figures[-1][0] = dict(attributes)["src"]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self._open and self._open[-1] == "figcaption":
            self.figures[-1][1] += f"{data}\n"
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def sources(self):
        return [attributes["src"] for tag, attributes in self.elements if tag == "img"]


@pytest.fixture(scope="module")
def page(reported):
    return Page((reported / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def truth(measured, classifier):
    """Attribute → label, answer and probabilities of each photograph, from `predict`."""
    table = pd.read_csv(measured / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    rows = table[table["split"] == "test"].reset_index(drop=True)
    predictions = classifier.predict([measured / "images" / f"{product}.jpg" for product in rows["id"]])
    return rows, {
        a.name: pd.DataFrame(
            {
                "id": rows["id"].astype(int),
                "label": rows[a.column],
                "answer": [p[a.name].label for p in predictions],
                "confidence": [p[a.name].confidence for p in predictions],
                "of_label": [
                    dict(p[a.name].top(200)).get(label, 0.0)
                    for p, label in zip(predictions, rows[a.column], strict=True)
                ],
            }
        )
        for a in ATTRIBUTES
    }


def read(path):
    return pd.read_csv(path, keep_default_na=False, na_values={"precision": [""], "recall": [""], "f1": [""]})


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_each_class_are_those_of_the_predictions(reported, truth, name):
    rows = truth[1][name]
    report = read(reported / f"classes_{name}.csv").set_index("label")
    assert set(report.index) == {*rows["label"], *rows["answer"]}
    assert report["support"].is_monotonic_decreasing
    for label, found in report.iterrows():
        labelled, answered = rows["label"] == label, rows["answer"] == label
        right = (labelled & answered).sum()
        assert (found["support"], found["answered"]) == (labelled.sum(), answered.sum())
        for figure, count in (("precision", answered.sum()), ("recall", labelled.sum())):
            assert found[figure] == pytest.approx(right / count) if count else np.isnan(found[figure])
        assert found["f1"] == pytest.approx(2 * right / (labelled.sum() + answered.sum()))


@pytest.mark.parametrize("name", NAMES)
def test_the_confusions_are_those_of_the_predictions(reported, truth, name):
    rows = truth[1][name]
    expected = Counter((a, b) for a, b in zip(rows["label"], rows["answer"], strict=True) if a != b)
    found = read(reported / f"confusions_{name}.csv")
    assert {(c.label, c.answer): c.count for c in found.itertuples()} == expected
    assert found["count"].is_monotonic_decreasing
    assert found["share"].tolist() == pytest.approx(
        [c.count / (rows["label"] == c.label).sum() for c in found.itertuples()]
    )


def test_the_slices_hold_what_was_right_in_them(reported, truth):
    rows, answers = truth
    slices = read(reported / "slices.csv")
    inside_each = slices[slices["kind"].isin(["gender and season", "year"])].groupby("kind")["images"].sum()
    assert (inside_each == len(rows)).all()  # every image is in one slice of each kind
    parts = slices[slices["kind"] == "gender and season"].set_index("slice")
    assert set(parts.index) == set(rows["gender"] + ", " + rows["season"])
    assert set(slices.loc[slices["kind"] == "year", "slice"]) == set(rows["year"])
    for slice_name, found in parts.iterrows():
        inside = rows["gender"] + ", " + rows["season"] == slice_name
        assert found["images"] == inside.sum()
        for name in ("product_type", "season", "gender"):
            right = (answers[name]["label"] == answers[name]["answer"])[inside]
            assert found[f"{name}_count"] == inside.sum()
            assert found[f"{name}_accuracy"] == pytest.approx(right.mean())
            assert found[f"{name}_low"] <= right.mean() <= found[f"{name}_high"]


def test_rare_labels_are_counted_among_the_training_images(reported, measured):
    table = pd.read_csv(measured / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    assert table.loc[table["split"] == "train", "articleType"].nunique() < 20  # too few for slices by frequency
    assert not [kind for kind in read(reported / "slices.csv")["kind"] if kind.startswith("training images")]


def domain_of(model_config, labels, names):
    """Predictions that are all right; `labels`: attribute name → class indices."""
    size = len(names)
    accepted = {a: np.eye(n, dtype=bool)[labels[a]] for a, n in model_config.num_classes.items()}
    return DomainPredictions(
        np.array(names),
        np.array(names),
        True,
        accepted,
        {a: x.astype(np.float32) for a, x in accepted.items()},
        {a: torch.from_numpy(5.0 * x) for a, x in accepted.items()},
        np.zeros(size),
        {},
    )


def test_slices_are_cut_where_they_say_and_marked_where_they_differ(tmp_path):
    counts = {"A": 19, "B": 20, "C": 99, "D": 100, "E": 499, "F": 500} | {f"other {i:02}": 1 for i in range(20)}
    columns = {"baseColour": "Red", "season": "Fall", "gender": "Men", "year": "2012"}
    training = pd.DataFrame([{"articleType": kind} for kind, count in counts.items() for _ in range(count)])
    rows = pd.DataFrame([{"articleType": kind} for kind in "ABCDEF" for _ in range(30)]).assign(**columns)
    rows.loc[rows["articleType"] == "A", "year"] = ""
    table = pd.concat([training.assign(split="train", **columns), rows.assign(split="test")], ignore_index=True)
    table["id"] = np.arange(len(table))
    encoders = LabelEncoders.fit({a.name: table[a.column] for a in ATTRIBUTES})
    config = ModelConfig.for_backbone(TINY, ATTRIBUTES, encoders.num_classes, image_size=(64, 64))
    used = table[table["split"] == "test"]
    labels = {a.name: [encoders.labels[a.name].index(label) for label in used[a.column]] for a in ATTRIBUTES}
    domain = domain_of(config, labels, [f"{i}.jpg" for i in used["id"]])
    wrong = torch.from_numpy((used["articleType"] == "F").to_numpy())
    domain.logits["product_type"][wrong] = domain.logits["product_type"][wrong].roll(1, dims=1)
    predictions = SplitPredictions(tmp_path, "test", config, encoders, {"thumbnails": domain, "phone": domain}, 0, True)
    slices = accuracy_by_slice(predictions, table)
    parts = slices.set_index(["kind", "slice"])["images"]
    assert parts["training images with the same product type"].to_dict() == {
        "below 20": 30, "20–99": 60, "100–499": 60, "500 and more": 30
    }  # fmt: skip
    assert parts["year"].to_dict() == {"2012": 150, "unknown": 30}
    assert parts["domain"].to_dict() == {"phone photographs": 180}
    assert weakest(slices, "product_type")["slice"] == "500 and more"
    findings = [SimpleNamespace(attribute=attribute) for attribute in ATTRIBUTES]
    shown = {
        row[0]: row for block in by_slice(slices, findings).blocks if isinstance(block, Table) for row in block.rows
    }
    of_type = 2 + NAMES.index("product_type")
    assert shown["500 and more"][of_type].startswith("▼ 0.0 (")
    assert shown["20–99"][of_type].startswith("▲ 100.0 (")
    assert shown["20–99"][2].startswith("100.0 (")  # as all colors


def test_where_nothing_is_confused_there_is_no_confusion():
    label = pd.Series(["Men", "Women", "Men"])
    assert confusions(label, label.copy()).empty
    found = confusions(label, pd.Series(["Men", "Men", "Women"]))
    assert found[["label", "answer", "count", "share"]].to_numpy().tolist() == [
        ["Men", "Women", 1, 0.5],
        ["Women", "Men", 1, 1.0],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_likely_label_errors_are_answers_surer_than_usual(reported, truth, name):
    rows = truth[1][name]
    usual = {label: part["of_label"].mean() for label, part in rows.groupby("label")}
    expected = rows[
        [r.label != r.answer and r.answer in usual and r.confidence >= usual[r.answer] for r in rows.itertuples()]
    ]
    expected = expected.assign(margin=expected["confidence"] - expected["of_label"])
    found = read(reported / f"label_errors_{name}.csv")
    assert set(found["id"]) == set(expected["id"])
    margins = found["id"].map(expected.set_index("id")["margin"])
    assert (margins.diff().dropna() <= 1e-4).all()


def test_a_picture_with_two_labels_is_listed(reported, measured):
    found = read(reported / "same_picture_color.csv")
    assert found["picture"].nunique() == 1
    assert found["label"].tolist() == ["Red", "Black"]
    suspects = read(reported / "label_errors_color.csv")
    others = dict(zip(found["id"], ["Black", "Red"], strict=True))
    assert all(s.same_picture == others.get(s.id, "") for s in suspects.itertuples())


def test_each_photograph_is_that_of_its_product_and_stands_where_it_belongs(page, reported, measured, truth):
    answers, beside_tables, on_sheets = truth[1], 0, []
    for source, text, row in page.figures:
        product = int(text.split(":")[0].split("\n")[0])
        shown = open_image(b64decode(source.partition(",")[2]))
        original = open_image(measured / "images" / f"{product}.jpg")
        assert shown.size == original.size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(original)).mean() < 10
        if row is None:
            on_sheets.append(product)
        else:
            of_product = [rows[rows["id"] == product].iloc[0] for rows in answers.values()]
            assert any([found["label"], found["answer"]] == row[:2] for found in of_product)
            beside_tables += 1
    assert beside_tables > 20
    assert on_sheets == [i for name in NAMES for i in read(reported / f"label_errors_{name}.csv")["id"].head(60)]


def test_the_most_frequent_confusions_are_shown(page, reported):
    shown = [table[1:] for table in page.tables if table[0][:4] == ["label", "prediction", "images", "share %"]]
    assert len(shown) == len(NAMES)
    for name, table in zip(NAMES, shown, strict=True):
        frequent = read(reported / f"confusions_{name}.csv").head(20)
        assert [row[:3] for row in table] == [[c.label, c.answer, str(c.count)] for c in frequent.itertuples()]


def test_the_page_needs_nothing_else_and_has_no_script(page):
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base"}
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/").startswith("data:image/")
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_links_of_the_page_lead_to_its_sections(page):
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert len(links) == 2 + len(NAMES)
    assert set(links) == anchors


def test_all_pictures_are_pictures(page):
    sources = page.sources()
    for source in sources:
        with Image.open(io.BytesIO(b64decode(source.partition(",")[2]))) as picture:
            assert source.startswith("data:image/jpeg") or np.asarray(picture.convert("L")).std() > 3  # not blank
    assert sum(source.startswith("data:image/jpeg") for source in sources) > 40
    alternatives = {attributes["alt"] for tag, attributes in page.elements if tag == "img" and attributes["alt"]}
    for attribute in ATTRIBUTES:
        assert f"{attribute.title}: reliability diagram" in alternatives
        assert f"{attribute.title}: confusion matrix, enlarged" in alternatives
    assert {"Color: confusion matrix", "Product type: confusion matrix"} < alternatives


def test_a_label_that_looks_like_html_stays_text(page):
    assert HOSTILE in page.text
    assert any(cell == HOSTILE for table in page.tables for row in table for cell in row)


def made_up(pairs):
    """Confusion of label → answer → count."""
    flat = [(label, answer) for (label, answer), count in pairs.items() for _ in range(count)]
    return Confusion.of(pd.Series([label for label, _ in flat]), pd.Series([answer for _, answer in flat]))


def test_classes_that_are_confused_stand_side_by_side():
    labels = [f"class {i:03}" for i in np.random.default_rng(0).permutation(143)]
    pairs = {(label, label): 20 for label in labels}
    twins = list(zip(labels[::2], labels[1::2], strict=False))
    pairs |= dict.fromkeys(twins, 5) | {twin[::-1]: 3 for twin in twins}
    confusion = made_up(pairs)
    place = {label: i for i, label in enumerate(confusion.labels)}
    assert sorted(place) == sorted(labels)
    assert all(abs(place[a] - place[b]) == 1 for a, b in twins)
    assert confusion.rates.sum(axis=1) == pytest.approx(np.ones(143))
    assert all(confusion.counts[place[a], place[b]] == count for (a, b), count in pairs.items())
    for block in confusion.blocks:
        assert block.stop - block.start <= BLOCK
        assert confusion.counts[block, block].sum() > confusion.counts[block, block].trace()


def test_the_block_with_most_confusion_comes_first():
    pairs = {(label, label): 30 for label in "abcdefghijklmnop"} | {("a", "b"): 4, ("c", "d"): 9, ("d", "c"): 3}
    confusion = made_up(pairs)
    assert [set(confusion.labels[block]) for block in confusion.blocks] == [{"c", "d"}, {"a", "b"}]


def test_few_classes_are_drawn_whole_whatever_is_confused():
    right = {(label, label): 5 for label in "abcde"}
    for pairs in (right, right | {("a", "b"): 2}):
        confusion = made_up(pairs)
        assert confusion.blocks == (slice(0, 5),)
        assert zooms("Gender", confusion).axes[0].get_title(loc="left") == "Gender"


def test_an_answer_that_no_photograph_has_for_a_label_lowers_its_row():
    confusion = made_up({("a", "a"): 6, ("a", "z"): 2, ("b", "b"): 1})
    assert set(confusion.labels) == {"a", "b"}
    assert confusion.rates[confusion.labels.index("a")].sum() == pytest.approx(0.75)


def check_classes(document, checkpoint, data):
    """The figures of classes.json are those that its predictions give."""
    predictions = saved_predictions(checkpoint, data, "test", "cpu", 1)
    thumbnails, phone = predictions.domains["thumbnails"], predictions.domains["phone"]
    labels = predictions.encoders.labels["product_type"]
    answers = thumbnails.predicted["product_type"]
    known = thumbnails.accepted["product_type"].any(axis=1)
    target = thumbnails.accepted["product_type"].argmax(axis=1)
    of_phone, accepted = phone.predicted["product_type"], phone.accepted["product_type"]
    found = document["attributes"]["product_type"]["classes"]
    assert {label for label in found if found[label]["images"]} >= {labels[i] for i in set(target[known])}
    for label in {labels[i] for i in set(target[known])}:
        i, entry = labels.index(label), found[label]
        shown = known & (target == i)
        assert entry["images"] == shown.sum()
        assert entry["recall"] == pytest.approx((answers[shown] == i).mean(), abs=1e-4)
        assert len(entry["right"]) == min(3, (answers[shown] == i).sum())
        assert len(entry["wrong"]) == min(3, (answers[shown] != i).sum())
        for picture in [*entry["right"], *(picture for picture, _ in entry["wrong"])]:
            with Image.open(io.BytesIO(b64decode(picture))) as image:
                assert max(image.size) <= 80
        counted = accepted.any(axis=1) & (of_phone == i)
        if counted.any():
            assert entry["phone"] == {"images": counted.sum(), "accepted": accepted[counted, i].sum()}


def test_the_report_goes_beside_the_checkpoint(evaluated_on_all, prepared, tmp_path, capsys):
    checkpoint = shutil.copytree(evaluated_on_all, tmp_path / "checkpoint")
    assert main(["report", "--checkpoint", str(checkpoint), "--data", str(prepared), "--device", "cpu"]) == 0
    written = checkpoint / "report" / "report.html"
    assert capsys.readouterr().out.strip() == str(written)
    classes = json.loads((checkpoint / "report" / "classes.json").read_text(encoding="utf-8"))
    check_classes(classes, checkpoint, prepared)
    slices = read(checkpoint / "report" / "slices.csv")
    assert slices.loc[slices["kind"] == "domain", "slice"].tolist() == [
        "phone photographs",
        "studio photographs",
        "accessories pasted on other backgrounds",
        "high-resolution catalogue photographs",
    ]
    metrics = read_metrics(checkpoint).splits["test"]
    page = Page(written.read_text(encoding="utf-8"))
    cells = [tuple(row) for table in page.tables for row in table]
    assert set(catalogue_rows(ATTRIBUTES, metrics.thumbnails)) <= set(cells)
    assert set(photograph_rows(ATTRIBUTES, metrics)) <= set(cells)


def test_it_says_if_images_may_have_been_trained_on(trained, cleaned, tmp_path):
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    (checkpoint / "trained_on.txt").unlink()
    assert main(["report", "--checkpoint", str(checkpoint), "--data", str(cleaned), "--device", "cpu"]) == 0
    text = (checkpoint / "report" / "report.html").read_text(encoding="utf-8")
    assert "It is not known whether the checkpoint was trained on some of the images" in text


def test_what_cannot_be_reported_is_a_sentence_and_an_exit_status(trained, cleaned, tmp_path, capsys):
    for checkpoint, data, message in (
        (tmp_path / "nowhere", cleaned, "is not a directory"),
        (trained, tmp_path, "data_prep catalogue"),
    ):
        assert main(["report", "--checkpoint", str(checkpoint), "--data", str(data)]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    checkpoint = shutil.copytree(trained, tmp_path / "checkpoint")
    arguments = ["report", "--checkpoint", str(checkpoint), "--data", str(cleaned), "--output", str(tmp_path / "file")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("report: ")
