"""The embedded default on 128 real photographs of the test split, which it was not trained on."""

import csv
import json
import re

import pytest

import app
from data_prep.clean_data import parse_row
from data_prep.other_pictures import PAINTERS
from fashion_model.attributes import ATTRIBUTES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import ROOT, TEST_SPLIT
from train.card import model_card, season_limits
from train.evaluation import digest_of
from train.goals import goals_table
from train.tables import figures_rows, markdown
from train.trained_on import TRAINED_ON

# Less by about two standard errors (128 photographs) than what metrics.json has for the whole test split.
ACCURACY_FLOOR = {"color": 0.62, "product_type": 0.82, "season": 0.70, "gender": 0.88}


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
    assert not trained & {int(path.stem) for path in app.EXAMPLES}


def test_it_is_as_right_as_its_figures_say(classifier, products):
    predictions = classifier.predict([TEST_SPLIT / "images" / f"{product['id']}.jpg" for product in products])
    for attribute in ATTRIBUTES:
        right = [
            p[attribute.name].label == product[attribute.column]
            for p, product in zip(predictions, products, strict=True)
        ]
        assert sum(right) / len(right) >= ACCURACY_FLOOR[attribute.name], attribute.name


def test_its_figures_beat_the_published_ones(metrics):
    assert metrics["split"] == "test"
    assert metrics["rows"] > 4000
    assert metrics["cross_entropy_sum"] < 2.15
    assert metrics["sharp"]["attributes"]["product_type"]["accuracy"] > 0.89
    for name, published in {"color": 0.63, "product_type": 0.82, "gender": 0.887}.items():
        assert metrics["attributes"][name]["accuracy"] > published


def test_its_figures_are_those_of_its_weights(metrics):
    assert metrics["digest"] == digest_of(DEFAULT_CHECKPOINT)


def test_it_answers_alike_to_sharp_photographs_and_thumbnails(metrics):
    agreement = metrics["sharp"]["agreement"]["thumbnail"]
    assert all(agreement[name] > 0.95 for name in agreement)
    assert metrics["sharp"]["attributes"]["season"]["balanced_accuracy"] > 0.52
    seasons = metrics["sharp"]["season_shares"]
    assert all(abs(seasons["sharp"][label] - seasons["thumbnails"][label]) < 0.05 for label in seasons["labels"])


def test_its_confidences_are_calibrated(classifier, metrics):
    assert all(temperature != 1 for temperature in classifier.config.temperatures.values())
    for attribute in ATTRIBUTES:
        assert metrics["attributes"][attribute.name]["calibration_error"] < 0.035
        assert metrics["sharp"]["attributes"][attribute.name]["calibration_error"] < 0.06


def test_the_readme_shows_exactly_its_figures(metrics):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert markdown(metrics) in readme
    assert goals_table(metrics) in readme
    assert season_limits(metrics) in readme


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
    assert metrics["fashion"]["accepted"]["sharp"]["share"] >= 0.95
    assert metrics["fashion"]["flagged"]["mean"]["share"] >= 0.9
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
