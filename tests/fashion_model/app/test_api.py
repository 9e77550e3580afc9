"""The endpoints as their callers see them: gradio_client, plain HTTP, and an MCP client."""

import asyncio
import base64
import csv
import html
import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from fashion_model import __version__
from fashion_model.app import many, routes
from fashion_model.app.answer import curl_code, document_of, products_document, python_code, render
from fashion_model.app.api import output_names
from fashion_model.app.disk import folder
from fashion_model.app.gradio_private import NOT_DOWNLOADED, PRIVATE_ADDRESS
from fashion_model.app.many import ManyEvents
from fashion_model.app.sentences import caption_of, percentage, sentence_of
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.images import open_image
from fashion_model.predictions import TOP
from tests.conftest import ATTRIBUTES, NAMES, SEVERAL, serving
from tests.fashion_model.app.conftest import PATHS, SHOES, beginning, called, check_overlay, post
from tests.fashion_model.app.test_uploads import zipped

UNREADABLE = "The file is not an image in a format that can be read."


def test_endpoints_inputs_and_outputs_have_names(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {
        name: ([p["parameter_name"] for p in e["parameters"]], [output["label"] for output in e["returns"]])
        for name, e in endpoints.items()
    } == {
        "/predict_batch": (["files", "products"], ["table", "gallery", "Save CSV", "summary", "Save JSON Lines"]),
        "/predict": (["photo", "attribute", "opacity", "classes"], [*NAMES, "overlay", "notice", "is_fashion"]),
        "/explain": (["photo", "attribute", "label", "opacity", "method", "box"], ["overlay"]),
        "/labels": ([], ["labels"]),
        "/model": ([], ["model"]),
        "/classify": (["photo"], ["result"]),
        "/find_products": (["photo"], ["result"]),
    }
    assert endpoints["/predict_batch"]["parameters"][1]["parameter_default"] is False
    model = client.predict(api_name="/model")
    assert model["name"] == "embedded default"
    assert list(model["attributes"]) == list(NAMES)


@pytest.mark.parametrize("classes", [TOP, 0])
def test_predict_returns_labels_overlay_and_notice(client, classifier, classes):
    *labels, overlay, notice, is_fashion = client.predict(handle_file(SHOES), classes=classes, api_name="/predict")
    prediction = classifier.predict([SHOES])[0]
    for name, value in zip(("color", "product_type", "season", "gender"), labels, strict=True):
        top = prediction[name].top(classes or len(prediction[name].labels))
        assert value["label"] == prediction[name].label
        assert [c["label"] for c in value["confidences"]] == [label for label, _ in top]
        assert [c["confidence"] for c in value["confidences"]] == pytest.approx([p for _, p in top], abs=1e-4)
    check_overlay(overlay, classifier.explain(SHOES, "product_type"))
    assert (notice, is_fashion) == (sentence_of(prediction), True)


def test_output_order_does_not_follow_the_checkpoint():
    assert output_names(["usage", "gender", "color"]) == ["color", "gender", "overlay", "usage", "notice", "is_fashion"]


@pytest.mark.parametrize(
    ("attribute", "label", "opacity", "method"),
    [("product_type", "Sandals", 0.5, "hirescam"), ("is_fashion", "no", 0.7, "gradcam")],
)
def test_explain_gives_the_overlay_asked_for(client, classifier, attribute, label, opacity, method):
    overlay = client.predict(handle_file(SHOES), attribute, label, opacity, method, api_name="/explain")
    check_overlay(overlay, classifier.explain(SHOES, attribute, label or None, opacity=opacity, method=method))


def rows_of(table):
    return [dict(zip(table["headers"], values, strict=True)) for values in table["data"]]


def test_batch_becomes_table_thumbnails_and_files(client, classifier, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear Sir")
    archive = zipped(tmp_path / "more.zip", {"bags/third.jpg": PATHS[2].read_bytes(), "notes.txt": b"x"})
    files = [handle_file(path) for path in (PATHS[0], letter, PATHS[1], archive)]
    table, gallery, csv_file, summary, json_lines = client.predict(files, api_name="/predict_batch")

    names = [PATHS[0].name, "letter.jpg", PATHS[1].name, "more.zip/bags/third.jpg"]
    rows = rows_of(table)
    assert [row["File"] for row in rows] == names
    assert [row["Not read because"] for row in rows] == ["", UNREADABLE, "", ""]
    predictions = classifier.predict(PATHS[:3])
    for row, prediction in zip([rows[0], *rows[2:]], predictions, strict=True):
        assert [row[attribute.title] for attribute in ATTRIBUTES] == [prediction[name].label for name in NAMES]
        assert row["Color, %"] == percentage(prediction.color.confidence)
        assert row["Least sure, %"] == min(percentage(prediction[n].confidence) for n in NAMES if n != "season")
        assert row["Fashion?"] == "yes"
        assert row["Fashion score"] == pytest.approx(prediction.fashion_score, abs=0.006)

    assert [picture["caption"] for picture in gallery] == [caption_of(p) for p in predictions]
    assert [max(open_image(picture["image"]).size) for picture in gallery] == [240] * 3
    with Path(csv_file).open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["file"] for row in written] == names
    assert [row["product_type"] for row in written] == [row["Product type"] for row in rows]
    assert [json.loads(line)["file"] for line in Path(json_lines).read_text(encoding="utf-8").splitlines()] == names
    assert summary.splitlines() == [
        "3 of 4 files could be read. Casual Shoes 1, Dresses 1, Shirts 1. "
        "Other files in zips that were passed over: 1.",
        f"- letter.jpg: {UNREADABLE}",
    ]


def test_products_of_a_batch_are_rows_and_pictures(classifier):
    """Boxes are in pixels of the photograph, which is decoded smaller."""
    Image.open(SEVERAL).resize((2688, 3960)).save(folder() / "large.jpg")
    photo = {"path": str(folder() / "large.jpg"), "orig_name": "large.jpg"}
    ((table, gallery, *_, places),) = ManyEvents(classifier).predict_batch([photo], products=True)
    products = classifier.find(folder() / "large.jpg")
    assert max(product.box[3] for product in products) > 3000
    boxes = [tuple(row[side] for side in ("Left", "Top", "Right", "Bottom")) for row in rows_of(table)]
    assert boxes == [product.box for product in products]
    assert [caption for _, caption in gallery] == [caption_of(product.prediction) for product in products]
    assert places == [(0, number) for number in range(len(products))]
    opened = ManyEvents(classifier).open_one(SimpleNamespace(index=1), [photo], places, True)
    assert 'data-chosen="1"' in opened


def test_row_of_no_product_has_no_labels(classifier):
    photo = {"path": str(shutil.copy(PATHS[5], folder() / "carton.jpg")), "orig_name": "carton.jpg"}
    ((table, _, _, summary, *_),) = ManyEvents(classifier).predict_batch([photo])
    (row,) = rows_of(table)
    assert (row["Fashion?"], row["Product type"], row["Product type, %"], row["Least sure, %"]) == ("no", "", "", "")
    assert summary == "1 of 1 files could be read. No fashion product: 1."
    for products in (False, True):
        ((_, gallery, *_),) = ManyEvents(classifier).predict_batch([photo], products)
        assert [caption for _, caption in gallery] == ["No fashion product?"]


def test_batch_that_takes_too_long_ends(tiny_classifier, monkeypatch):
    monkeypatch.setattr(many, "MAX_BATCH_SECONDS", -60)
    photo = {"path": str(shutil.copy(SHOES, folder() / "shoes.jpg")), "orig_name": "<b>.jpg"}
    first, last = ManyEvents(tiny_classifier).predict_batch([photo] * 10)
    assert re.fullmatch(r"8 of 10 files, about \d+ seconds left\.", first[3])
    assert [row["Not read because"] for row in rows_of(last[0])] == [many.TOO_LONG] * 10
    assert last[3].splitlines()[1] == f"- &lt;b&gt;.jpg: {many.TOO_LONG}"


ARGUMENTS = {
    "/predict": ["photo", "attribute", "opacity", "classes"],
    "/explain": ["photo", "attribute", "label", "opacity", "method", "box"],
    "/classify": ["photo"],
    "/find_products": ["photo"],
    "/predict_batch": ["files", "products"],
}
SENTENCES = {
    "photo": "choose a photograph first|has to be uploaded|not understood",
    "files": "choose photographs or a zip first|not understood",
    "attribute": "unknown attribute .*; the attributes are",
    "label": "unknown label .* for product_type",
    "opacity": "opacity (must be|has to be a number) from 0 to 1",
    "products": "products has to be true or false",
    "classes": "number of classes has to be a whole number",
    "method": "unknown method .*; there are",
    "box": "a box is left, top, right and bottom in pixels",
}
WRONG = ["3", -1, 2.5, True, [1], {"a": 1}]


@pytest.mark.parametrize(("endpoint", "argument"), [(e, argument) for e in ARGUMENTS for argument in ARGUMENTS[e]])
def test_argument_of_wrong_type_is_a_sentence(client, capfd, endpoint, argument):
    given = {"photo": handle_file(SHOES)} if "photo" in ARGUMENTS[endpoint] else {"files": [handle_file(SHOES)]}
    wrong = {"label": WRONG, "box": WRONG, "products": [value for value in WRONG if value is not True]}
    for value in wrong.get(argument, [*WRONG, None, []]):
        with pytest.raises(AppError, match=SENTENCES[argument]):
            client.predict(**given | {argument: value}, api_name=endpoint)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [(b"a letter", 400, UNREADABLE), (SHOES.read_bytes().ljust(MAX_BYTES + 1), 413, TOO_LARGE)],
    ids=["letter", "large"],
)
def test_no_photograph_is_the_same_sentence(client, served, tmp_path, content, status, message):
    (tmp_path / "upload.jpg").write_bytes(content)
    with pytest.raises(AppError, match=re.escape(message)):
        client.predict(handle_file(tmp_path / "upload.jpg"), api_name="/predict")
    response = post(served, content)
    assert (response.status_code, response.json()) == (status, {"error": message})


@pytest.mark.parametrize("endpoint", ["predict", "explain", "classify", "find_products", "predict_batch"])
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_path_on_the_server_is_not_opened(http, endpoint, meta):
    shutil.copyfile(SHOES, folder().parent / "secret.jpg")
    secret = {"path": f"{folder()}/../secret.jpg", "orig_name": "secret.jpg"} | meta
    inputs = {"files": [secret]} if endpoint == "predict_batch" else {"photo": secret}
    events = http.get(called(http, endpoint, **inputs)).text
    assert "event: error" in events
    assert "secret" not in events


def test_no_request_bypasses_the_queue(http):
    for name in ARGUMENTS:
        response = http.post(f"/gradio_api/run{name}", json={"data": [None]})
        assert response.status_code == 404
        assert "join the queue" in response.json()["detail"]


def test_post_predict_answers_with_the_document(served, classifier):
    document = post(served).raise_for_status().json()
    overlay = httpx2.get(document.pop("overlay"))
    assert document == document_of("shoe.jpg", classifier, classifier.predict([SHOES])[0])
    assert overlay.headers["content-type"] == "image/jpeg"
    check_overlay(overlay.content, classifier.explain(SHOES, "product_type"))


def test_post_without_a_photograph_says_how(http):
    two = [("file", ("a.jpg", b"")), ("file", ("b.jpg", b""))]
    for request in ({}, {"data": {"file": "shoe.jpg"}}, {"files": two}):
        response = http.post("/predict/", **request)
        assert response.status_code == 400
        assert "curl -F file=@" in response.json()["error"]


def test_products_have_boxes_labels_and_overlays(classifier, tiny_classifier, served, client):
    products = classifier.find(SEVERAL)
    expected = products_document("people.jpg", classifier, products)
    document = post(served, SEVERAL.read_bytes(), "people.jpg", products=1).json()
    overlays = [httpx2.get(product.pop("overlay")).content for product in document["products"]]
    photo = f"data:image/jpeg;base64,{base64.b64encode(SEVERAL.read_bytes()).decode()}"
    _, tools, (found,) = ask_mcp(served, ("find_products", {"photo": photo}))
    boxed = client.predict(handle_file(SEVERAL), box=", ".join(map(str, products[1].box)), api_name="/explain")
    assert document == expected
    assert json.loads(found.content[0].text)["products"] == expected["products"]
    assert "find_products" in {tool.name for tool in tools}
    assert len(overlays) == len(products) > 2
    for overlay in (overlays[1], boxed):
        check_overlay(overlay, classifier.explain(SEVERAL, "product_type", box=products[1].box))
    # A checkpoint without a finder says so.
    with serving(tiny_classifier) as address:
        assert "has no finder" in post(address, products=1).json()["error"]
        with pytest.raises(AppError, match="has no finder"):
            Client(address, verbose=False).predict(handle_file(SHOES), api_name="/find_products")


def test_many_visitors_get_their_own_predictions(served, classifier):
    with ThreadPoolExecutor(16) as pool:
        documents = [r.json() for r in pool.map(lambda path: post(served, path.read_bytes(), path.name), PATHS * 2)]
    assert [d["file"] for d in documents] == [path.name for path in PATHS * 2]
    expected = [p.product_type.label for p in classifier.predict(PATHS)]
    assert [d["product_type"]["label"] for d in documents] == expected * 2


def check_busy(response):
    assert (response.status_code, response.json()) == (503, {"error": routes.BUSY})
    assert int(response.headers["retry-after"]) > 0


def test_requests_beyond_the_limit_are_told_to_retry(served):
    with ExitStack() as connections:
        for _ in range(routes.MAX_REQUESTS):
            connections.enter_context(beginning(served, "/predict"))
        time.sleep(0.5)
        check_busy(post(served))
    time.sleep(0.5)
    assert post(served).status_code == 200


def test_who_waits_too_long_is_told_to_retry(served, monkeypatch):
    monkeypatch.setattr(routes, "MAX_WAIT", 0.001)
    check_busy(post(served))


def data_url(content):
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


PHOTO = data_url(SHOES.read_bytes())


def ask_mcp(address, *calls):
    """The server's version, its tools, and the results of `calls`, which are names of tools with their arguments."""

    async def ask():
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            version = (await session.initialize()).serverInfo.version
            tools = (await session.list_tools()).tools
            return version, tools, [await session.call_tool(tool, arguments) for tool, arguments in calls]

    return asyncio.run(ask())


def test_mcp_answers_are_json_and_an_image(served, classifier):
    why = {"photo": PHOTO, "attribute": "product_type", "label": "Sandals"}
    calls = ("classify_photograph", {"photo": PHOTO}), ("explain_photograph", why), ("labels", {})
    version, tools, results = ask_mcp(served, *calls)
    assert version == __version__
    assert {tool.name for tool in tools} == {name for name, _ in calls} | {"find_products"}
    assert all("JPEG, PNG" in t.inputSchema["properties"]["photo"]["description"] for t in tools if t.name != "labels")
    # One content each: beside the overlay no address with a path on the server.
    (text,), (overlay,), (labels,) = (result.content for result in results)
    expected = classifier.predict([SHOES])[0]
    assert json.loads(text.text)["product_type"] == expected.to_document()["product_type"]
    check_overlay(base64.b64decode(overlay.data), classifier.explain(SHOES, "product_type", "Sandals"))
    assert json.loads(labels.text)["season"] == list(classifier.encoders.labels["season"])


def test_mcp_client_learns_what_is_wrong(served):
    wrong = [
        ("photo", "/etc/hostname", "Invalid file data format"),
        ("photo", "http://127.0.0.1/shoe.jpg", PRIVATE_ADDRESS),
        ("photo", "http://nothing.invalid/shoe.jpg", NOT_DOWNLOADED),
        ("label", "Spacesuits", "unknown label"),
        ("method", ["gradcam"], "not of type 'string'"),
    ]
    *_, results = ask_mcp(served, *[("explain_photograph", {"photo": PHOTO, name: value}) for name, value, _ in wrong])
    for (_, value, sentence), result in zip(wrong, results, strict=True):
        assert result.isError, value
        assert sentence in result.content[0].text


def test_address_of_mcp_is_not_redirected(http):
    for path in ("/gradio_api/mcp", "/gradio_api/mcp/"):
        headers = {"accept": "application/json, text/event-stream"}
        assert http.post(path, json={}, headers=headers).status_code == 400


@pytest.mark.slow
def test_code_on_the_page_runs(served, tmp_path):
    """The JavaScript does in the browser test."""

    def printed(*command):
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    odd = 'it\'s "new" $HOME.jpg'
    for name in ("photograph.jpg", odd):
        shutil.copy(SHOES, tmp_path / name)
        document = json.loads(printed("bash", "-c", curl_code(name).replace("ADDRESS/", served)))
        assert document["file"].replace("%22", '"') == name  # curl encodes quotes as browsers do
    code = python_code(odd).replace("ADDRESS", served)
    assert "\nCasual Shoes [{'label': 'Casual Shoes', 'confidence': " in printed(sys.executable, "-c", code)
    (batch,) = re.findall(r'data-code="batch">(.*?)</pre>', render("code", file="photograph.jpg"), re.DOTALL)
    assert "'Casual Shoes'" in printed(sys.executable, "-c", html.unescape(batch).replace("ADDRESS", served))
