import csv
import json
import zipfile
from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from fashion_model.app import many
from fashion_model.app.answer import caption_of, percentage
from fashion_model.app.disk import folder
from fashion_model.app.many import ManyEvents
from fashion_model.images import open_image
from fashion_model.rows import fields_of
from tests.conftest import NAMES
from tests.fashion_model.app.conftest import PATHS

UNREADABLE = "The file is not an image in a format that can be read."


@pytest.fixture
def letter(tmp_path):
    path = tmp_path / "<b>letter.jpg"
    path.write_text("Dear Sir")
    return path


def zipped(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_batch_becomes_table_thumbnails_and_files(client, classifier, letter, tmp_path):
    archive = zipped(tmp_path / "more.zip", {"bags/third.jpg": PATHS[2].read_bytes(), "notes.txt": b"x"})
    files = [PATHS[0], letter, PATHS[1], archive]
    updates = client.predict([handle_file(path) for path in files], api_name="/predict_batch")
    table, gallery, csv_file, summary, json_lines = updates

    names = [PATHS[0].name, "bletter.jpg", PATHS[1].name, "more.zip/bags/third.jpg"]
    predictions = dict(zip([0, 2, 3], classifier.predict(PATHS[:3]), strict=True))
    assert table["headers"][:5] == ["File", "Color", "Color, %", "Product type", "Product type, %"]
    assert table["headers"][-4:] == ["Not read because", "Fashion?", "Fashion score", "Least score"]
    rows = [dict(zip(fields_of(NAMES), values, strict=True)) for values in table["data"]]
    assert [row["file"] for row in rows] == names
    for number, prediction in predictions.items():
        row = rows[number]
        assert [row[name] for name in NAMES] == [prediction[name].label for name in NAMES]
        assert row["color_confidence"] == percentage(prediction.color.confidence)
        assert (row["error"], row["is_fashion"]) == ("", "yes" if prediction.is_fashion else "no")
        assert row["fashion_score"] == pytest.approx(prediction.fashion_score, abs=0.06)
    assert table["data"][1][1:] == [""] * 8 + [UNREADABLE, "", "", ""]

    assert [picture["caption"] for picture in gallery] == [caption_of(p) for p in predictions.values()]
    for picture, path in zip(gallery, PATHS[:3], strict=True):
        (width, height), thumbnail = open_image(path).size, open_image(picture["image"]).size
        assert max(thumbnail) == 240
        assert thumbnail[0] / thumbnail[1] == pytest.approx(width / height, rel=0.02)
    with Path(csv_file).open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["file"] for row in written] == names
    assert [row["product_type"] for row in written] == [row["product_type"] or "" for row in rows]
    assert [json.loads(line)["file"] for line in Path(json_lines).read_text(encoding="utf-8").splitlines()] == names
    assert summary.splitlines() == [
        "3 of 4 files could be read. Other files in zips that were passed over: 1.",
        f"- bletter.jpg: {UNREADABLE}",
    ]


def test_fifth_attribute_is_in_table_and_files(usage_classifier, uploaded, letter):
    files = [uploaded(path) for path in (*PATHS, letter)]
    first, last = ManyEvents(usage_classifier).predict_batch(files)
    assert [len(rows) for rows, *_ in (first, last)] == [8, 13]  # they appear as they come
    assert first[3] == "8 files so far."
    rows, gallery, csv_file, summary, json_lines, readable = last
    fields = fields_of((*NAMES, "usage"))
    with Path(csv_file).open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert tuple(written[0]) == fields
    predictions = usage_classifier.predict(PATHS)
    for values, row, prediction in zip(rows, written, predictions, strict=False):
        shown = dict(zip(fields, values, strict=True))
        assert shown["usage"] == row["usage"] == prediction.usage.label
        assert shown["usage_confidence"] == percentage(prediction.usage.confidence)
    assert [caption for _, caption in gallery] == [caption_of(p) for p in predictions]
    assert readable == list(range(12))
    assert summary.splitlines()[1] == f"- &lt;b&gt;letter.jpg: {UNREADABLE}"
    for left in (gallery[0][0], csv_file, json_lines):  # where old files are deleted
        assert Path(left).is_relative_to(folder())


def test_batch_that_takes_too_long_ends(tiny_classifier, uploaded, monkeypatch):
    monkeypatch.setattr(many, "MAX_BATCH_SECONDS", -60)
    *_, (rows, *_) = ManyEvents(tiny_classifier).predict_batch([uploaded(path) for path in PATHS[:2]])
    assert [row[9] for row in rows] == [many.TOO_LONG] * 2


def test_no_files_and_too_many_are_messages(client, tmp_path):
    for nothing in (None, []):
        with pytest.raises(AppError, match="choose photographs or a zip"):
            client.predict(nothing, api_name="/predict_batch")
    files = [handle_file(zipped(tmp_path / "many.zip", {f"{n}.jpg": b"" for n in range(500)})), handle_file(PATHS[0])]
    with pytest.raises(AppError, match="At most 500 photographs can be labelled at a time; these are 501"):
        client.predict(files, api_name="/predict_batch")


def test_zip_beyond_the_limit_is_refused(client, tmp_path):
    (tmp_path / "larger.zip").write_bytes(bytes(101 * 2**20))
    with pytest.raises(Exception, match=r"413|[Tt]oo large|exceed"):
        client.predict([handle_file(tmp_path / "larger.zip")], api_name="/predict_batch")
