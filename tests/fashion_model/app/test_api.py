"""The endpoints as their callers see them: gradio_client, plain HTTP, and an MCP client."""

import asyncio
import base64
import html
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager

import httpx2
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from fashion_model import FashionClassifier, __version__
from fashion_model.app import routes
from fashion_model.app.answer import curl_code, document_of, python_code, render, sentence_of
from fashion_model.app.api import Endpoints
from fashion_model.app.gradio_private import PRIVATE_ADDRESS
from fashion_model.app.uploads import TOO_LARGE
from fashion_model.checkpoint import Checkpoint
from fashion_model.images import open_image
from fashion_model.predictions import TOP
from tests.conftest import ATTRIBUTES, NAMES, ROOT, USAGE, encoders_of, random_model
from tests.fashion_model.app.conftest import PATHS, SHOES


def check_label(value, prediction, count=TOP):
    """A gr.Label's value is what the network predicts."""
    assert value["label"] == prediction.label
    top = prediction.top(count)
    assert [c["label"] for c in value["confidences"]] == [label for label, _ in top]
    assert [c["confidence"] for c in value["confidences"]] == pytest.approx([p for _, p in top], abs=1e-4)


def check_overlay(source, expected):
    """JPEG changes it little."""
    overlay = open_image(source)
    assert overlay.size == expected.size
    assert np.abs(np.asarray(overlay).astype(int) - np.asarray(expected).astype(int)).mean() < 4


def post(address, content=None, name="shoe.jpg", **options):
    files = {"file": (name, SHOES.read_bytes() if content is None else content)}
    return httpx2.post(f"{address}predict", files=files, timeout=60, **options)


def test_endpoints_inputs_and_outputs_have_names(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {
        name: ([p["parameter_name"] for p in e["parameters"]], [output["label"] for output in e["returns"]])
        for name, e in endpoints.items()
    } == {
        "/predict_batch": (["files"], ["table", "gallery", "Save CSV", "summary", "Save JSON Lines"]),
        "/predict": (["photo", "attribute", "opacity", "classes"], [*NAMES, "overlay", "notice", "is_fashion"]),
        "/explain": (["photo", "attribute", "label", "opacity", "method"], ["overlay"]),
        "/labels": ([], ["labels"]),
        "/model": ([], ["model"]),
        "/classify": (["photo"], ["result"]),
    }


@pytest.mark.parametrize("classes", [TOP, 0])
def test_predict_returns_labels_overlay_and_notice(client, classifier, classes):
    *labels, overlay, notice, is_fashion = client.predict(handle_file(SHOES), classes=classes, api_name="/predict")
    prediction = classifier.predict([SHOES])[0]
    for name, value in zip(("color", "product_type", "season", "gender"), labels, strict=True):
        check_label(value, prediction[name], classes or len(prediction[name].labels))
    check_overlay(overlay, classifier.explain(SHOES, "product_type"))
    assert (notice, is_fashion) == (sentence_of(prediction, classifier.attributes), True)


COLOR, PRODUCT_TYPE, SEASON, GENDER = ATTRIBUTES


@pytest.mark.parametrize(
    ("attributes", "outputs"),
    [
        ((*ATTRIBUTES, USAGE), ["color", "product_type", "season", "gender", "overlay", "usage"]),
        ((USAGE, GENDER, COLOR), ["color", "gender", "overlay", "usage"]),
    ],
)
def test_output_order_does_not_follow_the_checkpoint(uploaded, attributes, outputs):
    classifier = FashionClassifier(Checkpoint(random_model(attributes=attributes), encoders_of(attributes), "other"))
    *values, notice, is_fashion = Endpoints(classifier).predict(uploaded(SHOES), "usage", 0.7, 2)
    prediction = classifier.predict([SHOES])[0]
    for name, value in zip(outputs, values, strict=True):
        if name == "overlay":
            check_overlay(value, classifier.explain(SHOES, "usage"))
        else:
            assert value == pytest.approx(dict(prediction[name].top(2)), abs=1e-4)
    assert (notice, is_fashion) == (sentence_of(prediction, attributes), prediction.is_fashion)


@pytest.mark.parametrize(
    ("attribute", "label", "opacity", "method"),
    [
        ("color", "", 0.2, "gradcam++"),
        ("product_type", "Sandals", 0.5, "hirescam"),
        ("is_fashion", "no", 0.7, "gradcam"),
    ],
)
def test_explain_gives_the_overlay_asked_for(client, classifier, attribute, label, opacity, method):
    overlay = client.predict(handle_file(SHOES), attribute, label, opacity, method, api_name="/explain")
    check_overlay(overlay, classifier.explain(SHOES, attribute, label or None, opacity=opacity, method=method))


def test_labels_and_model_describe_the_checkpoint(client, classifier):
    labels = {name: list(labels) for name, labels in classifier.encoders.labels.items()}
    assert client.predict(api_name="/labels") == labels
    assert client.predict(api_name="/model") == {
        "name": "embedded default",
        "backbone": classifier.config.backbone,
        "image_size": list(classifier.config.image_size),
        "attributes": {a.name: a.title for a in classifier.attributes},
    }


GOOD = {
    "/predict": {"photo": None, "attribute": "color", "opacity": 0.5, "classes": 3},
    "/explain": {"photo": None, "attribute": "color", "label": "", "opacity": 0.5, "method": "gradcam"},
    "/classify": {"photo": None},
    "/predict_batch": {"files": None},
}
SENTENCES = {
    "photo": "choose a photograph first|has to be uploaded|not understood",
    "files": "choose photographs or a zip first|not understood",
    "attribute": "unknown attribute .*; the attributes are",
    "label": "unknown label .* for color",
    "opacity": "opacity (must be|has to be a number) from 0 to 1",
    "classes": "number of classes has to be a whole number",
    "method": "unknown method .*; there are",
}
WRONG = ["3", -1, 2.5, True, [1], {"a": 1}, None]


@pytest.mark.parametrize(("endpoint", "argument"), [(e, argument) for e in GOOD for argument in GOOD[e]])
def test_argument_of_wrong_type_is_a_sentence(client, capfd, endpoint, argument):
    photo = {"photo": handle_file(SHOES)} if "photo" in GOOD[endpoint] else {}
    for value in [*WRONG, []] if argument != "label" else [value for value in WRONG if value is not None]:
        with pytest.raises(AppError, match=SENTENCES[argument]):
            client.predict(**GOOD[endpoint] | photo | {argument: value}, api_name=endpoint)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"a letter", "not an image"), (SHOES.read_bytes()[:2000], "damaged or cut off")],
)
def test_no_photograph_is_the_same_sentence(client, served, tmp_path, content, message):
    (tmp_path / "upload.jpg").write_bytes(content)
    with pytest.raises(AppError, match=message) as raised:
        client.predict(handle_file(tmp_path / "upload.jpg"), api_name="/predict")
    response = post(served, content)
    assert (response.status_code, response.json()) == (400, {"error": str(raised.value)})


@pytest.mark.parametrize("endpoint", ["predict", "explain", "classify", "predict_batch"])
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_path_on_the_server_is_not_opened(served, tmp_path, endpoint, meta):
    secret = {"path": str(shutil.copyfile(SHOES, tmp_path / "secret.jpg")), "orig_name": "secret.jpg"} | meta
    call = f"{served}gradio_api/call/v2/{endpoint}"
    body = {"files": [secret]} if endpoint == "predict_batch" else {"photo": secret}
    event = httpx2.post(call, json=body).json()["event_id"]
    events = httpx2.get(f"{served}gradio_api/call/{endpoint}/{event}").text
    assert "event: error" in events
    assert "secret" not in events


@pytest.mark.parametrize("path", [str(ROOT / "requirements.txt"), "/etc/hostname", None])
def test_private_event_opens_no_path(served, client, path):
    """What the page's script sends as the path of an uploaded file."""
    (function,) = [d["id"] for d in client.config["dependencies"] if "send" in [event for _, event in d["targets"]]]
    body = {"fn_index": function, "data": [], "event_data": {"path": path, "name": "x.jpg"}, "session_hash": "x"}
    assert httpx2.post(f"{served}gradio_api/queue/join", json=body).status_code == 200
    stream = httpx2.get(f"{served}gradio_api/queue/data", params={"session_hash": "x"}, timeout=60).text
    messages = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.strip()]
    (output,) = [message["output"] for message in messages if message["msg"] == "process_completed"]
    assert output.get("data", [None])[0] is None  # gradio or the page refuses it
    assert "error" in output or "has to be uploaded" in output["data"][1]


def test_photograph_beyond_the_limit_is_refused(client, served, tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((3600, 3600), 100).save(path)
    assert path.stat().st_size > 10 * 2**20
    with pytest.raises(AppError, match="exceeds 10 MB"):
        client.predict(handle_file(path), api_name="/predict")
    response = post(served, path.read_bytes())
    assert (response.status_code, response.json()) == (413, {"error": TOO_LARGE})


def test_post_predict_answers_with_the_document(served, classifier):
    document = post(served).raise_for_status().json()
    overlay = httpx2.get(document.pop("overlay"))
    assert document == document_of("shoe.jpg", classifier, classifier.predict([SHOES])[0])
    assert overlay.headers["content-type"] == "image/jpeg"
    check_overlay(overlay.content, classifier.explain(SHOES, "product_type"))
    headers = {"x-forwarded-host": "shoes.example.com", "x-forwarded-proto": "https"}
    assert post(served, headers=headers).json()["overlay"].startswith("https://shoes.example.com/overlays/")


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"data": {"file": "shoe.jpg"}},
        {"json": {"file": "shoe.jpg"}},
        {"files": {"photo": ("shoe.jpg", b"")}},
        {"files": [("file", ("a.jpg", b"")), ("file", ("b.jpg", b""))]},
        {"content": b"x"},
    ],
)
def test_post_without_a_photograph_says_how(served, request_):
    response = httpx2.post(f"{served}predict/", **request_)
    assert response.status_code == 400
    assert "curl -F file=@" in response.json()["error"]


def test_many_visitors_get_their_own_predictions(served, classifier):
    with ThreadPoolExecutor(16) as pool:
        documents = [r.json() for r in pool.map(lambda path: post(served, path.read_bytes(), path.name), PATHS * 2)]
    assert [d["file"] for d in documents] == [path.name for path in PATHS * 2]
    expected = [p.product_type.label for p in classifier.predict(PATHS)]
    assert [d["product_type"]["label"] for d in documents] == expected * 2


@contextmanager
def beginning(address, path):
    """A connection that has sent the head of a request and the first byte of its body."""
    host, port = address.removeprefix("http://").partition("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n-".encode())
        yield connection


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


def test_smallest_body_is_enough_for_plain_http(served, classifier):
    (path,) = httpx2.post(f"{served}gradio_api/upload", files={"files": SHOES.read_bytes()}).json()
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = httpx2.post(f"{served}gradio_api/call/v2/predict", json={"photo": photo}).json()["event_id"]
    text = httpx2.get(f"{served}gradio_api/call/predict/{event}").text
    assert "event: complete" in text
    assert json.loads(text.rpartition("data: ")[2])[1]["label"] == classifier.predict([SHOES])[0].product_type.label


def test_no_request_bypasses_the_queue(served):
    for name in ("predict", "explain", "predict_batch", "classify"):
        response = httpx2.post(f"{served}gradio_api/run/{name}", json={"data": [None]})
        assert response.status_code == 404
        assert "join the queue" in response.json()["detail"]


@asynccontextmanager
async def mcp_session(address):
    async with (
        streamablehttp_client(f"{address}gradio_api/mcp") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        session.server = (await session.initialize()).serverInfo
        yield session


def data_url(content):
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


PHOTO = data_url(SHOES.read_bytes())


def ask_mcp(address, *calls):
    """The results of tools, each given by its name and arguments."""

    async def ask():
        async with mcp_session(address) as session:
            return [await session.call_tool(tool, arguments) for tool, arguments in calls]

    return asyncio.run(ask())


def test_mcp_tools_describe_themselves(served):
    async def ask():
        async with mcp_session(served) as session:
            return session.server.version, {tool.name: tool for tool in (await session.list_tools()).tools}

    version, tools = asyncio.run(ask())
    assert version == __version__
    assert set(tools) == {"classify_photograph", "explain_photograph", "labels"}
    classify = tools["classify_photograph"]
    assert "Color, product type, season of use and target gender" in classify.description
    assert "JPEG, PNG, WebP or HEIC" in classify.inputSchema["properties"]["photo"]["description"]
    assert classify.inputSchema.get("required", ["photo"]) == ["photo"]


@pytest.mark.slow
def test_mcp_answers_are_json_and_an_image(served, classifier):
    why = {"photo": PHOTO, "attribute": "product_type", "label": "Sandals"}
    calls = ("classify_photograph", {"photo": PHOTO}), ("explain_photograph", why), ("labels", {})
    # One content each: beside the overlay no address with a path on the server.
    (text,), (overlay,), (labels,) = (result.content for result in ask_mcp(served, *calls))
    expected = classifier.predict([SHOES])[0]
    assert json.loads(text.text)["product_type"] == expected.to_document()["product_type"]
    check_overlay(base64.b64decode(overlay.data), classifier.explain(SHOES, "product_type", "Sandals"))
    assert json.loads(labels.text)["season"] == list(classifier.encoders.labels["season"])


def test_address_of_mcp_is_not_redirected(served):
    for path in ("gradio_api/mcp", "gradio_api/mcp/"):
        headers = {"accept": "application/json, text/event-stream"}
        assert httpx2.post(f"{served}{path}", json={}, headers=headers).status_code == 400


@pytest.mark.slow
def test_mcp_client_learns_what_is_wrong(served):
    wrong = [
        ("photo", "/etc/hostname", "Invalid file data format"),
        ("photo", data_url(b"a letter"), "not an image"),
        ("photo", "http://127.0.0.1/shoe.jpg", PRIVATE_ADDRESS),
        ("photo", None, "validation error|choose a photograph"),
        ("attribute", "usage", "'usage' is not one of"),
        ("attribute", 3, "not of type 'string'"),
        ("label", "Spacesuits", "Spacesuits"),
        ("opacity", 1.5, "the opacity must be from 0 to 1"),
        ("opacity", "much", "not of type 'number'"),
        ("method", ["gradcam"], "not of type 'string'"),
        ("classes", "3", "not a valid"),
    ]
    results = ask_mcp(served, *[("explain_photograph", {"photo": PHOTO, name: value}) for name, value, _ in wrong])
    for (name, value, sentence), result in zip(wrong, results, strict=True):
        assert result.isError, (name, value)
        assert re.search(sentence, result.content[0].text), result.content[0].text


@pytest.mark.slow
def test_code_on_the_page_runs(served, tmp_path):
    """The JavaScript does in the browser test."""

    def printed(*command):
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    odd = 'it\'s "new" $HOME.jpg'
    for name in ("photograph.jpg", odd):
        shutil.copy(SHOES, tmp_path / name)
        document = json.loads(printed("bash", "-c", curl_code(name).replace("ADDRESS/", served)))
        assert document["product_type"]["label"] == "Casual Shoes"
        assert document["file"].replace("%22", '"') == name  # curl encodes quotes as browsers do
    code = python_code(odd).replace("ADDRESS", served)
    assert "\nCasual Shoes [{'label': 'Casual Shoes', 'confidence': " in printed(sys.executable, "-c", code)
    (batch,) = re.findall(r'data-code="batch">(.*?)</pre>', render("code", file="photograph.jpg"), re.DOTALL)
    assert "'Casual Shoes'" in printed(sys.executable, "-c", html.unescape(batch).replace("ADDRESS", served))
