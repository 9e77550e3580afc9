import json

import httpx2
import pytest

from fashion_model import FashionClassifier
from fashion_model.app import quality
from fashion_model.app.quality import class_html, classes_html, in_words, read_file
from fashion_model.checkpoint import CLASSES, DEFAULT_CHECKPOINT, METRICS, REPORT
from tests.conftest import serving


@pytest.fixture(scope="module")
def classes(classifier):
    return read_file(classifier, CLASSES)


def test_the_figures_are_those_of_the_metrics_phone_photographs_first(classifier):
    test = json.loads((DEFAULT_CHECKPOINT / METRICS).read_text(encoding="utf-8"))["splits"]["test"]
    text = in_words(classifier)
    phone, catalogue = text.split("<h2>Right in 100")[1:]
    for attribute in classifier.attributes:
        for part, domain in ((phone, "phone"), (catalogue, "high_resolution")):
            if attribute.name in test[domain]["attributes"]:
                share = round(100 * test[domain]["attributes"][attribute.name]["accuracy"])
                assert f"<b>{share}</b> {attribute.title}" in part
    assert "Season of use (a hint)" in catalogue
    assert f"{test['phone']['images']:,} photographs by {test['phone']['groups']} people" in phone


def test_a_class_has_its_figures_confusions_and_examples(classes):
    found = classes["attributes"]["product_type"]["classes"]["Kurtas"]
    text = classes_html(classes)["Kurtas (product type)"]
    assert f"<b>{round(100 * found['recall'])} %</b> of its {found['images']:,} catalogue photographs" in text
    assert f"<b>{round(100 * found['precision'])} %</b> of the answers" in text
    label, count = found["predicted_as"][0]
    assert f"Taken for: {label} ({count})" in text
    assert text.count("<img") == len(found["right"]) + len(found["wrong"]) > 3


def test_what_a_checkpoint_says_is_escaped():
    wicked = "<script>"
    entry = {"images": 1, "precision": None, "recall": 0.5, "phone": None}
    entry |= {"predicted_as": [[wicked, 1]], "confused_from": [[wicked, 1]], "right": ['"><script>'], "wrong": []}
    assert "&lt;script&gt;" in class_html(wicked, entry)
    assert "<script" not in class_html(wicked, entry)


@pytest.mark.parametrize(
    "document",
    [{}, {"attributes": []}, {"attributes": {"color": {"title": "Color", "classes": {"Red": {"images": "<b>"}}}}}],
)
def test_classes_of_another_shape_are_as_if_missing(document):
    assert classes_html(document) == {}


def test_files_that_cannot_be_used_are_as_if_missing(tiny_checkpoint, monkeypatch):
    classifier = FashionClassifier.from_pretrained(tiny_checkpoint)
    assert read_file(classifier, METRICS) == {}
    assert "Nothing was measured" in in_words(classifier)
    for content in ("{", "[]"):
        (tiny_checkpoint / METRICS).write_text(content)
        assert read_file(classifier, METRICS) == {}
    for content in ('{"splits": {}}', '{"splits": []}', '{"splits": {"test": {"phone": {"images": "many"}}}}'):
        (tiny_checkpoint / METRICS).write_text(content)
        assert read_file(classifier, METRICS) == json.loads(content)
        assert "Nothing was measured" in in_words(classifier)
    monkeypatch.setattr(quality, "MAX_BYTES", 3)
    assert read_file(classifier, METRICS) == {}


def test_the_report_has_a_page_of_its_own_that_can_do_nothing(served):
    answer = httpx2.get(f"{served}report")
    assert answer.text == (DEFAULT_CHECKPOINT / REPORT).read_text(encoding="utf-8")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_without_a_report_there_is_none(tiny_classifier):
    with serving(tiny_classifier) as address:
        assert httpx2.get(f"{address}report").status_code == 404
        assert httpx2.get(f"{address}examples/../../config.json").status_code == 404
        assert httpx2.get(f"{address}examples/2315.jpg").headers["content-type"] == "image/jpeg"
