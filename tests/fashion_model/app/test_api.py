"""The endpoints as their callers see them: gradio_client, plain HTTP, and an MCP client."""

import asyncio
import base64
import json
import shutil
import socket
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
from fashion_model.app.api import Endpoints
from fashion_model.app.gradio_private import PRIVATE_ADDRESS
from fashion_model.app.result import NOT_FASHION, document_of, sentence_of
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


def noise(path, side):
    Image.effect_noise((side, side), 100).save(path)
    return path


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


def test_no_fashion_product_still_gets_labels(client, tmp_path):
    noise(tmp_path / "noise.png", 300)
    *labels, overlay, notice, is_fashion = client.predict(handle_file(tmp_path / "noise.png"), api_name="/predict")
    assert (notice, is_fashion, len(labels)) == (NOT_FASHION, False, 4)
    assert open_image(overlay).size == (300, 300)


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


@pytest.mark.parametrize(
    ("arguments", "endpoint", "message"),
    [
        ([None], "/predict", "choose a photograph first"),
        ([SHOES, "usage"], "/predict", "unknown attribute 'usage'"),  # which another checkpoint has
        ([SHOES, "color", 1.5], "/predict", "the opacity must be from 0 to 1"),
        ([SHOES, "color", "much"], "/predict", "the opacity must be from 0 to 1"),
        ([SHOES, "color", 0.5, -1], "/predict", "number of classes"),
        ([SHOES, "product_type", "Spacesuits"], "/explain", "Spacesuits"),
        ([SHOES, "product_type", "", 0.5, "magic"], "/explain", "unknown method 'magic'"),
    ],
)
def test_wrong_inputs_are_messages(client, arguments, endpoint, message):
    photo, *others = arguments
    with pytest.raises(AppError, match=message):
        client.predict(photo and handle_file(photo), *others, api_name=endpoint)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"a letter", "not an image"), (SHOES.read_bytes()[:2000], "damaged or cut off")],
)
def test_no_photograph_is_the_same_sentence_everywhere(client, served, tmp_path, content, message):
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
def test_private_event_opens_no_path_on_the_server(served, client, path):
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
    path = noise(tmp_path / "large.png", 3600)
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


@pytest.mark.parametrize("digest", ["0" * 64, "..%2f..%2fetc", "x"])
def test_only_overlays_are_sent_as_overlays(served, digest):
    assert httpx2.get(f"{served}overlays/{digest}.jpeg").status_code == 404


@pytest.mark.parametrize(
    "request_", [{}, {"data": {"file": "shoe.jpg"}}, {"files": {"photo": ("shoe.jpg", b"")}}, {"content": b"x"}]
)
def test_post_without_a_photograph_says_how(served, request_):
    response = httpx2.post(f"{served}predict", **request_)
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
    monkeypatch.setattr(routes, "MAX_SECONDS", 0.001)
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
        streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        session.server = (await session.initialize()).serverInfo
        yield session


def data_url(content):
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def call_tool(address, tool, **arguments):
    async def call():
        async with mcp_session(address) as session:
            return await session.call_tool(tool, arguments)

    return asyncio.run(call())


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
    photo = data_url(SHOES.read_bytes())
    (text,) = call_tool(served, "classify_photograph", photo=photo).content
    expected = classifier.predict([SHOES])[0]
    assert json.loads(text.text)["product_type"] == expected.to_document()["product_type"]
    (overlay,) = call_tool(
        served, "explain_photograph", photo=photo, attribute="product_type", label="Sandals"
    ).content  # and no address with a path on the server
    check_overlay(base64.b64decode(overlay.data), classifier.explain(SHOES, "product_type", "Sandals"))
    (labels,) = call_tool(served, "labels").content
    assert json.loads(labels.text)["season"] == list(classifier.encoders.labels["season"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("/etc/hostname", "Invalid file data format"),
        (data_url(b"a letter"), "not an image"),
        ("http://127.0.0.1/shoe.jpg", PRIVATE_ADDRESS),
    ],
)
def test_mcp_client_learns_what_is_wrong(served, photo, message):
    result = call_tool(served, "classify_photograph", photo=photo)
    assert result.isError
    assert message in result.content[0].text
