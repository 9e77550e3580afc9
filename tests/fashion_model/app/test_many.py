import csv
import json
import shutil
import zipfile
from pathlib import Path

import gradio as gr
import httpx2
import pytest
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from fashion_model.app.examples import EXAMPLES as ALL_EXAMPLES
from fashion_model.app.handlers import received_files
from fashion_model.app.result import caption, percentage
from fashion_model.images import open_image
from fashion_model.rows import fields_of
from tests.conftest import NAMES, USAGE

EXAMPLES = [example.path for example in ALL_EXAMPLES.values()]
EXAMPLE = EXAMPLES[0]
UNREADABLE = "The file is not an image in a format that can be read."


def rows_of_table(table, names=NAMES):
    return [dict(zip(fields_of(names), values, strict=True)) for values in table["data"]]


def rows_of_file(path):
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def test_a_batch_becomes_a_table_thumbnails_and_a_csv_file(client, classifier, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear Sir")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(EXAMPLES[2], "bags/third.jpg")
        archive.write(letter, "notes.txt")
    files = [EXAMPLES[0], letter, EXAMPLES[1], tmp_path / "more.zip"]
    result = client.predict([handle_file(path) for path in files], api_name="/predict_batch")
    table, gallery, file, summary, json_lines = result

    names = [EXAMPLES[0].name, "letter.jpg", EXAMPLES[1].name, "more.zip/bags/third.jpg"]
    predictions = dict(zip([0, 2, 3], classifier.predict(EXAMPLES[:3]), strict=True))
    assert table["headers"][:5] == ["File", "Color", "Color, %", "Product type", "Product type, %"]
    assert table["headers"][-4:] == ["Not read because", "Fashion?", "Fashion score", "Least score"]
    assert [row[0] for row in table["data"]] == names
    for number, prediction in predictions.items():
        row = rows_of_table(table)[number]
        assert [row[name] for name in NAMES] == [prediction[name].label for name in NAMES]
        assert row["color_confidence"] == percentage(prediction.color.confidence)
        assert (row["error"], row["is_fashion"]) == ("", "yes" if prediction.is_fashion else "no")
    assert table["data"][1][1:] == [""] * 8 + [UNREADABLE, "", "", ""]

    answers = list(predictions.values())
    assert [picture["caption"] for picture in gallery] == [caption(p) for p in answers]
    for picture, path in zip(gallery, EXAMPLES[:3], strict=True):
        width, height = open_image(path).size
        with Image.open(picture["image"]) as thumbnail:
            assert max(thumbnail.size) == 240
            assert thumbnail.width / thumbnail.height == pytest.approx(width / height, rel=0.02)
    assert file.endswith("predictions.csv")
    rows = rows_of_file(file)
    assert [row["file"] for row in rows] == names
    for row, answers_of_table in zip(rows, table["data"], strict=True):
        assert row["product_type"] == (answers_of_table[3] or "")
    assert [json.loads(line)["file"] for line in Path(json_lines).read_text(encoding="utf-8").splitlines()] == names
    assert summary.splitlines() == ["3 of 4 files could be read.", f"- letter.jpg: {UNREADABLE}"]


def test_a_fifth_attribute_is_in_the_table_the_captions_and_the_csv_file(usage_client, usage_classifier, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear Sir")
    files = [handle_file(path) for path in (*EXAMPLES[:2], letter)]
    table, gallery, file, summary, _ = usage_client.predict(files, api_name="/predict_batch")
    names = (*NAMES, USAGE.name)
    assert table["headers"][-4:-2] == ["Usage", "Usage, %"]
    *rows, wrong = rows_of_table(table, names)
    written = rows_of_file(file)
    assert list(written[0]) == list(rows[0]) == list(fields_of(names))
    for prediction, row, row_of_file, picture in zip(
        usage_classifier.predict(EXAMPLES[:2]), rows, written[:2], gallery, strict=True
    ):
        labels = [prediction[name].label for name in names]
        assert [row[name] for name in names] == [row_of_file[name] for name in names] == labels
        assert row["usage_confidence"] == percentage(prediction.usage.confidence)
        assert float(row_of_file["usage_confidence"]) == pytest.approx(prediction.usage.confidence, abs=2e-4)
        assert picture["caption"] == caption(prediction)
    assert (wrong["usage"], wrong["error"]) == ("", UNREADABLE)
    assert summary.startswith("2 of 3 files could be read.")


def test_a_batch_without_a_single_photograph_is_rows_with_errors(client, tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_text("Dear Sir")
    table, gallery, _, summary, _ = client.predict([handle_file(broken)], api_name="/predict_batch")
    assert "zip file is damaged" in table["data"][0][9]
    assert gallery == []
    assert summary.startswith("0 of 1 files could be read.")


def test_no_files_and_too_many_are_messages_to_the_client(client, tmp_path):
    for nothing in (None, []):
        with pytest.raises(AppError, match="choose photographs or a zip"):
            client.predict(nothing, api_name="/predict_batch")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(500):
            archive.writestr(f"{number}.jpg", b"")
    files = [handle_file(tmp_path / "many.zip"), handle_file(EXAMPLE)]
    with pytest.raises(AppError, match="At most 500 photographs can be labelled at a time; there are at least 501"):
        client.predict(files, api_name="/predict_batch")


def test_a_zip_beyond_the_limit_is_refused(client, tmp_path):
    path = tmp_path / "larger.zip"
    path.write_bytes(bytes(101 * 2**20))
    with pytest.raises(Exception, match=r"413|[Tt]oo large|exceed"):
        client.predict([handle_file(path)], api_name="/predict_batch")


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_path_on_the_server_is_not_opened_in_a_batch_either(served, tmp_path, meta):
    file = {"path": str(shutil.copyfile(EXAMPLE, tmp_path / "secret.jpg")), "orig_name": "secret.jpg"} | meta
    call = f"{served}gradio_api/call/predict_batch"  # the client would upload it
    event = httpx2.post(call, json={"data": [[file]]}).json()["event_id"]
    answer = httpx2.get(f"{call}/{event}").text
    assert "event: error" in answer
    assert "secret" not in answer
    with pytest.raises(gr.Error, match="has to be uploaded"):
        received_files([file])


def test_what_a_batch_leaves_behind_is_where_gradio_cleans_up(served):
    _, gallery, file, _, json_lines = Client(served, verbose=False, download_files=False).predict(
        [handle_file(EXAMPLE)], api_name="/predict_batch"
    )
    for left in (gallery[0]["image"], file, json_lines):
        assert is_in_or_equal(left["path"], get_upload_folder())


@pytest.mark.slow
def test_results_appear_as_they_come(client):
    files = [handle_file(path) for path in EXAMPLES]
    updates = list(client.submit(files, api_name="/predict_batch"))
    assert [len(table["data"]) for table, *_ in updates] == [8, 12]
    assert updates[0][3] == "8 files so far."


def test_a_name_that_is_a_formula_or_markup_is_text(client, tmp_path):
    path = tmp_path / "<b>x.jpg"
    path.write_text("Dear Sir")
    *_, summary, _ = client.predict([handle_file(path)], api_name="/predict_batch")
    assert "<b>" not in summary
