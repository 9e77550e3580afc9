import json

import pytest

from fashion_model import FashionClassifier
from fashion_model.app import quality
from fashion_model.app.quality import COLUMNS, class_rows, in_words, read_file
from fashion_model.checkpoint import CLASSES, DEFAULT_CHECKPOINT, METRICS


def test_figures_are_those_of_the_metrics(classifier):
    test = json.loads((DEFAULT_CHECKPOINT / METRICS).read_text(encoding="utf-8"))["splits"]["test"]["domains"]
    text = in_words(classifier)
    phone, worn, catalogue = text.split("<h2>Right in 100")[1:]
    for attribute in classifier.attributes:
        for part, domain in ((phone, "phone"), (worn, "worn"), (catalogue, "high_resolution")):
            if attribute.name in test[domain]["attributes"]:
                share = round(100 * test[domain]["attributes"][attribute.name]["accuracy"])
                assert f"<b>{share}</b> {attribute.title}" in part
    assert "Season of use (a hint)" in catalogue
    assert f"{test['phone']['images']:,} photographs by {test['phone']['groups']} people" in phone


def test_table_has_a_row_for_each_class(classifier):
    document = read_file(classifier, CLASSES)
    rows = class_rows(document)
    assert len(rows) == sum(len(attribute["classes"]) for attribute in document["attributes"].values())
    figures = document["attributes"]["product_type"]["classes"]["Kurtas"]
    (kurtas,) = [dict(zip(COLUMNS, row, strict=True)) for row in rows if row[0] == "Kurtas"]
    assert kurtas["Attribute"] == "Product type"
    assert kurtas["Recognised, %"] == round(100 * figures["recall"])
    assert kurtas["Right, %"] == round(100 * figures["precision"])
    label, count = figures["predicted_as"][0]
    assert kurtas["Taken for"].startswith(f"{label} ({count}), ")
    assert any(" of " in row[5] for row in rows)


@pytest.mark.parametrize(
    "document",
    [{}, {"attributes": []}, {"attributes": {"color": {"title": "Color", "classes": {"Red": {"images": "<b>"}}}}}],
)
def test_classes_of_another_shape_are_no_table(document):
    assert class_rows(document) == []


def test_files_that_cannot_be_used_are_as_if_missing(tiny_checkpoint, monkeypatch):
    classifier = FashionClassifier.from_pretrained(tiny_checkpoint)
    broken = ["{", "[]"]
    odd = ['{"splits": {}}', '{"splits": []}', '{"splits": {"test": {"domains": {"phone": {"images": "many"}}}}}']
    for content in (None, *broken, *odd):
        if content:
            (tiny_checkpoint / METRICS).write_text(content)
        assert read_file(classifier, METRICS) == (json.loads(content) if content in odd else {})
        assert "Nothing was measured" in in_words(classifier)
    monkeypatch.setattr(quality, "MAX_JSON", 3)
    assert read_file(classifier, METRICS) == {}
