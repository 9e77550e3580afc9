import csv
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx2
import numpy as np
import pytest
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.classifier import AttributePrediction, Prediction
from fashion_model.images import open_image
from fashion_model.rows import FIELDS
from tests.conftest import ROOT, contents

EXAMPLE = app.EXAMPLES[0]


@pytest.fixture(scope="module")
def client(served):
    return Client(served, verbose=False)


def test_predict_returns_four_labels_and_the_overlay_in_order(client, classifier):
    result = client.predict(handle_file(EXAMPLE), api_name="/predict")
    assert len(result) == 6
    assert result[5] == ""  # no notice
    prediction = classifier.predict([EXAMPLE])[0]
    for name, answer in zip(NAMES, result, strict=False):
        assert answer["label"] == prediction[name].label
        top = prediction[name].top(app.TOP_CLASSES)
        assert [c["label"] for c in answer["confidences"]] == [label for label, _ in top]
        assert [c["confidence"] for c in answer["confidences"]] == pytest.approx([p for _, p in top], abs=1e-4)
        assert len(answer["confidences"]) >= 3
    with Image.open(result[4]) as overlay:
        assert overlay.size == open_image(EXAMPLE).size


def test_the_progress_of_many_photographs_is_told_after_each(classifier, tmp_path):
    folder = Path(get_upload_folder()) / tmp_path.name
    folder.mkdir(parents=True)
    files = [{"path": str(shutil.copy(path, folder)), "orig_name": path.name} for path in app.EXAMPLES[:3]]
    told = []
    app.analyse_all(classifier, files, lambda done, unit: told.append((done, unit)))
    assert told == [((n, 3), "photographs") for n in (1, 2, 3)]


def test_what_is_no_fashion_product_gets_a_notice_beside_the_labels(client, tmp_path):
    picture = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(picture)
    *labels, overlay, notice = client.predict(handle_file(picture), api_name="/predict")
    assert "does not look like a photograph of a fashion product" in notice
    assert len(labels) == 4
    with Image.open(overlay) as image:
        assert image.size == (300, 300)


def test_the_overlay_is_as_opaque_as_asked_for(client, classifier):
    *_, path, _ = client.predict(handle_file(EXAMPLE), "color", 0.2, api_name="/predict")
    served = np.asarray(open_image(path)).astype(int)
    expected = np.asarray(classifier.explain(EXAMPLE, "color", opacity=0.2)).astype(int)
    assert np.abs(served - expected).mean() < 4  # JPEG on the way
    for wrong in (1.5, "much"):
        with pytest.raises(AppError, match="the opacity must be from 0 to 1"):
            client.predict(handle_file(EXAMPLE), "color", wrong, api_name="/predict")


def test_the_overlay_explains_the_attribute_asked_for(client, classifier):
    for name in ("product_type", "color"):
        path = client.predict(handle_file(EXAMPLE), name, api_name="/predict")[4]
        served_overlay = np.asarray(open_image(path)).astype(int)
        expected = np.asarray(classifier.explain(EXAMPLE, name)).astype(int)
        assert np.abs(served_overlay - expected).mean() < 4  # JPEG on the way


def test_the_endpoints_that_others_call_are_there_and_no_others(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/predict", "/predict_batch"]
    assert [p["parameter_name"] for p in endpoints["/predict"]["parameters"]] == ["photo", "attribute", "opacity"]
    assert [p["parameter_name"] for p in endpoints["/predict_batch"]["parameters"]] == ["files"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"a letter", "not an image"), (EXAMPLE.read_bytes()[:2000], "damaged or cut off")],
)
def test_what_is_no_photograph_is_a_message_to_the_client(client, tmp_path, content, message):
    path = tmp_path / "upload.jpg"
    path.write_bytes(content)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(path), api_name="/predict")


def test_nothing_and_an_unknown_attribute_are_messages_to_the_client(client):
    with pytest.raises(AppError, match="choose a photograph first"):
        client.predict(None, api_name="/predict")
    with pytest.raises(AppError, match="unknown attribute"):
        client.predict(handle_file(EXAMPLE), "price", api_name="/predict")


@pytest.mark.parametrize("payload", ["photo.jpg", ["photo.jpg"], {"path": 7}, {"url": "data:image/jpeg;base64,AAAA"}])
def test_a_payload_of_another_shape_is_a_message_too(classifier, payload):
    with pytest.raises(gr.Error, match="has to be uploaded"):
        app.analyse(classifier, payload, "color", 0.7)


def test_fashion_model_names_the_checkpoint_to_serve(trained, monkeypatch, tmp_path, hub):
    assert app.load_classifier()[0].name == "embedded default"
    monkeypatch.setenv("FASHION_MODEL", str(trained))
    assert app.load_classifier()[0].name == trained.name
    monkeypatch.setenv("FASHION_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json is missing"):
        app.main()
    commit = hub.add("model", "user/served", contents(trained)).branches["main"]
    for name in ("user/served@main", f"user/served@{commit}"):
        monkeypatch.setenv("FASHION_MODEL", name)
        classifier, warning = app.load_classifier()
        assert (classifier.name, warning) == (name, "")


@pytest.mark.parametrize(("kind", "reason"), [("hang", "sent nothing for 1 s"), ("page", "not a Hub"), ("503", "503")])
def test_where_the_hub_fails_the_embedded_default_serves_and_says_why(hub, trained, monkeypatch, kind, reason):
    repository = f"user/failing-{kind}"  # one each: what hung may go on filling the cache afterwards
    hub.add("model", repository, contents(trained))
    hub.fault("/resolve/.*safetensors" if kind == "hang" else "/revision/", kind)
    monkeypatch.setenv("FASHION_MODEL", f"{repository}@main")
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "1")
    classifier, warning = app.load_classifier()
    assert classifier.name == "embedded default"
    assert warning.startswith(f"{repository}@main cannot be loaded from the Hub: ")
    assert reason in warning
    texts = [
        c.value for c in app.build_demo(classifier, warning).blocks.values() if c.elem_id == "warning" and c.visible
    ]
    assert texts == [f"**{warning}**"]


def test_without_a_warning_there_is_none_on_the_page(classifier):
    (warning,) = [c for c in app.build_demo(classifier).blocks.values() if c.elem_id == "warning"]
    assert not warning.visible


@pytest.mark.parametrize("seconds", ["soon", "nan", "0", "-1", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_an_error(monkeypatch, seconds):
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", seconds)
    with pytest.raises(SystemExit, match="FASHION_MODEL_TIMEOUT has to be a number"):
        app.main()


def test_without_a_report_there_is_no_place_for_one(trained):
    demo = app.build_demo(FashionClassifier.from_pretrained(trained))
    tabs = [c.label for c in demo.blocks.values() if isinstance(c, gr.Tab)]
    assert tabs == ["One photograph", "Many photographs"]


def test_a_path_on_the_server_is_not_opened(client, tmp_path):
    secret = shutil.copyfile(EXAMPLE, tmp_path / "secret.jpg")
    with pytest.raises(AppError, match="has to be uploaded"):
        client.predict({"path": str(secret)}, api_name="/predict")


def test_a_file_beyond_the_limit_is_refused(client, tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((3600, 3600), 100).save(path)
    assert path.stat().st_size > 10 * 2**20
    with pytest.raises(AppError, match="exceeds 10 MB"):
        client.predict(handle_file(path), api_name="/predict")
    path = tmp_path / "larger.zip"
    path.write_bytes(bytes(101 * 2**20))
    with pytest.raises(Exception, match=r"413|[Tt]oo large|exceed"):
        client.predict([handle_file(path)], api_name="/predict_batch")


def test_a_batch_becomes_a_table_thumbnails_and_a_csv_file(client, classifier, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear Sir")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(app.EXAMPLES[2], "bags/third.jpg")
        archive.write(letter, "notes.txt")
    files = [app.EXAMPLES[0], letter, app.EXAMPLES[1], tmp_path / "more.zip"]
    table, gallery, file, summary = client.predict([handle_file(path) for path in files], api_name="/predict_batch")

    names = [app.EXAMPLES[0].name, "letter.jpg", app.EXAMPLES[1].name, "more.zip/bags/third.jpg"]
    predictions = dict(zip([0, 2, 3], classifier.predict(app.EXAMPLES[:3]), strict=True))
    assert [header.replace(" ", "_") for header in table["headers"]] == list(FIELDS)
    assert [row[0] for row in table["data"]] == names
    for number, prediction in predictions.items():
        row = dict(zip(FIELDS, table["data"][number], strict=True))
        assert [row[name] for name in NAMES] == [prediction[name].label for name in NAMES]
        assert row["color_confidence"] == pytest.approx(prediction.color.confidence, abs=2e-4)
        assert (row["error"], row["is_fashion"]) == (None, prediction.is_fashion)
    assert table["data"][1][1:] == [None] * 8 + ["The file is not an image in a format that can be read.", None]

    answers = list(predictions.values())
    assert [picture["caption"] for picture in gallery] == [
        f"{p.product_type.label}, {p.color.label} · {p.season.label} · {p.gender.label}" for p in answers
    ]
    for picture, path in zip(gallery, app.EXAMPLES[:3], strict=True):
        width, height = open_image(path).size
        with Image.open(picture["image"]) as thumbnail:
            assert max(thumbnail.size) == 240
            assert thumbnail.width / thumbnail.height == pytest.approx(width / height, rel=0.02)
    assert file.endswith("predictions.csv")
    rows = list(csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines()))
    assert [row["file"] for row in rows] == names
    for row, answers_of_table in zip(rows, table["data"], strict=True):
        assert row["product_type"] == (answers_of_table[3] or "")
    assert summary == "3 of 4 files could be read."


def test_a_batch_without_a_single_photograph_is_rows_with_errors(client, tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_text("Dear Sir")
    table, gallery, _, summary = client.predict([handle_file(broken)], api_name="/predict_batch")
    assert "zip file is damaged" in table["data"][0][9]
    assert (gallery, summary) == ([], "0 of 1 files could be read.")


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


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_path_on_the_server_is_not_opened_in_a_batch_either(served, tmp_path, meta):
    file = {"path": str(shutil.copyfile(EXAMPLE, tmp_path / "secret.jpg")), "orig_name": "secret.jpg"} | meta
    call = f"{served}gradio_api/call/predict_batch"  # the client would upload it
    event = httpx2.post(call, json={"data": [[file]]}).json()["event_id"]
    answer = httpx2.get(f"{call}/{event}").text
    assert "event: error" in answer
    assert "secret" not in answer
    with pytest.raises(gr.Error, match="has to be uploaded"):
        app.received_files([file])


def test_what_a_batch_leaves_behind_is_where_gradio_cleans_up(served):
    _, gallery, file, _ = Client(served, verbose=False, download_files=False).predict(
        [handle_file(EXAMPLE)], api_name="/predict_batch"
    )
    for left in (gallery[0]["image"], file):
        assert is_in_or_equal(left["path"], get_upload_folder())


def test_several_visitors_get_their_own_answers(served, classifier):
    def ask(path):
        return Client(served, verbose=False).predict(handle_file(path), api_name="/predict")[1]["label"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, app.EXAMPLES))
    assert answers == [p.product_type.label for p in classifier.predict(app.EXAMPLES)]


def test_the_examples_are_small_photographs_in_the_repository():
    catalogue = [path for path in app.EXAMPLES if path.stem.isdigit()]
    assert len(app.EXAMPLES) == 12
    assert app.EXAMPLES[6:] == catalogue  # phone photographs come first
    for path in app.EXAMPLES:
        assert path.is_relative_to(ROOT / "fashion_model" / "examples")
        assert path.stat().st_size < 50_000
        assert max(open_image(path).size) <= 480


def test_the_notice_says_what_is_no_fashion_and_what_is_only_unsure():
    def prediction(is_fashion, confidence):
        types = AttributePrediction(("Tshirts", "Tops"), np.array([confidence, 1 - confidence], dtype=np.float32))
        return Prediction({"product_type": types}, 0.0, is_fashion)

    assert app.notice_on(prediction(True, 0.9)) == ""
    assert "does not look like" in app.notice_on(prediction(False, 0.9))
    shared = AttributePrediction(("a", "b", "c"), np.array([0.39, 0.31, 0.3], dtype=np.float32))
    assert "hard to tell" in app.notice_on(Prediction({"product_type": shared}, 0.0, True))


def test_the_space_installs_the_gradio_that_is_tested_here():
    assert f"gradio=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
