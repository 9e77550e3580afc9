"""The embedded default on real photographs that it was not trained on: the catalogue's and people's."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

import app
from data_prep.clean_data import parse_row
from data_prep.other_pictures import PAINTERS
from data_prep.phone_photographs import LABELS
from data_prep.splits import TEST, hashed_split
from fashion_model.attributes import ATTRIBUTES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import DATA, ROOT, TEST_SPLIT
from train.card import model_card
from train.evaluation import digest_of
from train.pictures import ACCEPTED, UNKNOWN
from train.tables import figures_rows, visitors_table
from train.trained_on import TRAINED_ON

# Less by about two standard errors (128 photographs) than what metrics.json has for the whole test split.
ACCURACY_FLOOR = {"color": 0.60, "product_type": 0.80, "season": 0.66, "gender": 0.86}
PHONE_FLOOR = {"color": 0.75, "product_type": 0.70, "gender": 0.72}


@pytest.fixture(scope="module")
def products():
    with (TEST_SPLIT / "styles.csv").open(encoding="utf-8", newline="") as file:
        return [parse_row(row) for row in list(csv.reader(file))[1:]]


@pytest.fixture(scope="module")
def metrics():
    return json.loads((DEFAULT_CHECKPOINT / "metrics.json").read_text())


def test_it_was_not_trained_on_these_photographs(products):
    trained = {int(line) for line in (DEFAULT_CHECKPOINT / TRAINED_ON).read_text().split()}
    assert len(trained) > 30_000
    assert len(products) >= 100
    assert not trained & {int(product["id"]) for product in products}
    assert not trained & {int(path.stem) for path in app.EXAMPLES if path.stem.isdigit()}


@pytest.fixture(scope="module")
def phone():
    """The rows of the committed phone photographs, `path` among the columns."""
    table = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
    table["path"] = [DATA / "phone" / f"{image}.jpg" for image in table["image"]]
    return table[[path.is_file() for path in table["path"]]]


def test_the_phone_photographs_are_of_people_it_has_not_learnt_from(phone):
    assert len(phone) == 128
    assert {hashed_split(f"contributor {sender}") for sender in phone["sender"]} == {TEST}


def test_it_is_right_about_phone_photographs(classifier, phone):
    predictions = classifier.predict(phone["path"])
    for name, floor in PHONE_FLOOR.items():
        right = [
            prediction[name].label in accepted.split("|")
            for prediction, accepted in zip(predictions, phone[ACCEPTED[name]], strict=True)
            if accepted != UNKNOWN
        ]
        assert len(right) > 100
        assert np.mean(right) >= floor, name
    assert np.mean([prediction.is_fashion for prediction in predictions]) >= 0.93


def test_it_refuses_what_is_no_fashion(classifier):
    pictures = sorted((DATA / "everyday").glob("*.jpg"))
    assert len(pictures) == 24
    assert np.mean([not prediction.is_fashion for prediction in classifier.predict(pictures)]) >= 0.8


def test_black_shoes_on_the_floor_are_shoes(classifier):
    (path,) = [path for path in app.EXAMPLES if "black-shoes" in path.name]
    prediction = classifier.predict([path])[0]
    assert prediction.is_fashion
    assert "Shoes" in prediction.product_type.label
    assert prediction.color.label == "Black"
    (path,) = [path for path in app.EXAMPLES if "carton" in path.name]
    assert not classifier.predict([path])[0].is_fashion


def test_it_is_as_right_as_its_figures_say(classifier, products):
    predictions = classifier.predict([TEST_SPLIT / "images" / f"{product['id']}.jpg" for product in products])
    for attribute in ATTRIBUTES:
        right = [
            p[attribute.name].label == product[attribute.column]
            for p, product in zip(predictions, products, strict=True)
        ]
        assert sum(right) / len(right) >= ACCURACY_FLOOR[attribute.name], attribute.name


def test_its_figures_are_of_the_test_split_and_beat_the_published_ones(metrics):
    assert metrics["split"] == "test"
    assert metrics["rows"] > 4000
    assert metrics["visitors"]["phone"]["photographs"] > 500
    for name, published in {"color": 0.63, "product_type": 0.82, "gender": 0.887}.items():
        assert metrics["attributes"][name]["accuracy"] > published


def test_its_figures_are_those_of_its_weights(metrics):
    assert metrics["digest"] == digest_of(DEFAULT_CHECKPOINT)


def test_it_answers_alike_to_sharp_photographs_and_thumbnails(metrics):
    agreement = metrics["sharp"]["agreement"]["thumbnail"]
    floors = {"color": 0.82, "product_type": 0.89, "season": 0.78, "gender": 0.92}
    assert all(agreement[name] > floor for name, floor in floors.items())


def test_its_confidences_are_calibrated(classifier, metrics):
    assert all(temperature != 1 for temperature in classifier.config.temperatures.values())
    assert metrics["visitors"]["phone"]["attributes"]["product_type"]["calibration_error"] < 0.08
    for attribute in ATTRIBUTES:
        # Color's temperature follows phone photographs, where several are accepted; the catalogue has one label.
        thumbnails, sharp = (0.15, 0.15) if attribute.name == "color" else (0.06, 0.08)
        assert metrics["attributes"][attribute.name]["calibration_error"] < thumbnails
        assert metrics["sharp"]["attributes"][attribute.name]["calibration_error"] < sharp


def test_the_readme_shows_exactly_its_figures(metrics):
    assert visitors_table(metrics["visitors"]) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_card_and_the_readme_link_its_reliability_diagrams():
    folder = DEFAULT_CHECKPOINT.relative_to(ROOT).as_posix()
    for page, place in ((ROOT / "README.md", f"{folder}/"), (DEFAULT_CHECKPOINT / "README.md", "")):
        links = re.findall(r"\]\(([^)]*reliability_[a-z_]+\.png)\)", page.read_text(encoding="utf-8"))
        assert links == [f"{place}figures/reliability_{attribute.name}.png" for attribute in ATTRIBUTES]
        assert all((page.parent / link).is_file() for link in links)


def test_its_report_has_its_figures(metrics):
    page = (DEFAULT_CHECKPOINT / "report" / "report.html").read_text(encoding="utf-8")
    rows = re.findall("<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [tuple(re.findall("<td[^>]*>([^<]*)</td>", row)) for row in rows]
    assert set(figures_rows(metrics)) <= set(cells)
    kinds = {row[0]: row[1] for row in cells if len(row) == 2 + len(ATTRIBUTES)}
    assert kinds["all photographs"] == f"{metrics['rows']:,}"
    assert kinds["their sharp photographs"] == f"{metrics['sharp']['rows']:,}"
    assert len(page) < 2_100_000  # it goes to everyone who opens it in the app


def test_its_card_is_the_one_of_its_figures(classifier, metrics):
    assert (DEFAULT_CHECKPOINT / "README.md").read_text(encoding="utf-8") == model_card(classifier.config, metrics)


def test_it_accepts_products_and_refuses_what_is_none(metrics):
    assert metrics["visitors"]["phone"]["recognised"]["share"] >= 0.96
    assert metrics["visitors"]["everyday"]["refused"]["share"] >= 0.85
    assert set(metrics["fashion"]["flagged"]) == {"photograph", "crop", *PAINTERS, "mean"}


def test_it_fits_into_a_space():
    files = [path for path in DEFAULT_CHECKPOINT.rglob("*") if path.is_file()]
    ignored = {path for path in files if "report" in path.parts and path.name != "report.html"}  # see .gitignore
    weights = {path.name for path in DEFAULT_CHECKPOINT.glob("model*.safetensors*")}
    assert {path.name for path in files if path not in ignored} == {
        *weights,
        "config.json",
        "label_encoders.json",
        "metrics.json",
        "trained_on.txt",
        "README.md",
        "report.html",
        *(f"reliability_{attribute.name}.png" for attribute in ATTRIBUTES),
    }
    assert max(path.stat().st_size for path in files) < 10_000_000
    assert sum(path.stat().st_size for path in files) < 50_000_000
