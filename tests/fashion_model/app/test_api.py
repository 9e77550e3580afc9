"""The endpoints as their callers see them: gradio_client, plain HTTP, and an MCP client."""

import ast
import asyncio
import base64
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.app.examples import EXAMPLES
from fashion_model.app.result import NOT_FASHION, TOP_CLASSES, Result
from fashion_model.app.uploads import TOO_LARGE
from fashion_model.checkpoint import Checkpoint
from fashion_model.classifier import WORKERS
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES, ROOT, USAGE, encoders_of, launching, random_model, serving

PATHS = [example.path for example in EXAMPLES.values()]
EXAMPLE = PATHS[0]


def check_answer(answer, prediction, count=TOP_CLASSES):
    """What a client gets for an attribute is what the network says."""
    assert answer["label"] == prediction.label
    top = prediction.top(count)
    assert [c["label"] for c in answer["confidences"]] == [label for label, _ in top]
    assert [c["confidence"] for c in answer["confidences"]] == pytest.approx([p for _, p in top], abs=1e-4)


def check_overlay(path, expected):
    """JPEG on the way changes it little."""
    served = open_image(path)
    assert served.size == expected.size
    assert np.abs(np.asarray(served).astype(int) - np.asarray(expected).astype(int)).mean() < 4


def sentence_of(classifier, path):
    return Result(path.name, classifier.name, classifier.predict([path])[0], classifier.attributes).sentence


def described(client):
    """Endpoint → names of its inputs, names of its outputs."""
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    return {
        name: ([p["parameter_name"] for p in found["parameters"]], [output["label"] for output in found["returns"]])
        for name, found in endpoints.items()
    }


def test_the_endpoints_and_the_names_of_their_inputs_and_outputs(client):
    assert described(client) == {
        "/predict_batch": (["files", "model"], ["table", "gallery", "Save CSV", "summary", "Save JSON Lines"]),
        "/predict": (
            ["photo", "attribute", "opacity", "classes", "model"],
            [*NAMES, "overlay", "notice", "is_fashion"],
        ),
        "/explain": (["photo", "attribute", "label", "opacity", "method", "model"], ["overlay"]),
        "/labels": ([], ["labels"]),
        "/model": ([], ["model"]),
        "/classify": (["photo", "model"], ["result"]),
    }


def test_predict_returns_four_labels_the_overlay_and_the_notice_in_order(client, classifier):
    *answers, overlay, notice, is_fashion = client.predict(handle_file(EXAMPLE), api_name="/predict")
    prediction = classifier.predict([EXAMPLE])[0]
    for name, answer in zip(("color", "product_type", "season", "gender"), answers, strict=True):
        check_answer(answer, prediction[name])
    check_overlay(overlay, classifier.explain(EXAMPLE, "product_type"))
    assert (notice, is_fashion) == (sentence_of(classifier, EXAMPLE), True)


def test_all_classes_are_returned_on_request(client, classifier):
    result = client.predict(handle_file(EXAMPLE), classes=0, api_name="/predict")
    prediction = classifier.predict([EXAMPLE])[0]
    for name, answer in zip(NAMES, result, strict=False):
        check_answer(answer, prediction[name], len(prediction[name].labels))


def test_a_fifth_attribute_comes_after_the_overlay(usage_client, usage_classifier):
    result = usage_client.predict(handle_file(EXAMPLE), "usage", api_name="/predict")
    assert described(usage_client)["/predict"][1] == [*NAMES, "overlay", USAGE.name, "notice", "is_fashion"]
    color, product_type, season, gender, overlay, usage, notice, _ = result
    prediction = usage_classifier.predict([EXAMPLE])[0]
    for name, answer in zip((*NAMES, "usage"), (color, product_type, season, gender, usage), strict=True):
        check_answer(answer, prediction[name])
    check_overlay(overlay, usage_classifier.explain(EXAMPLE, "usage"))
    assert notice == sentence_of(usage_classifier, EXAMPLE)


def test_the_places_of_the_outputs_do_not_depend_on_the_checkpoints_order():
    color, _, _, gender = ATTRIBUTES
    attributes = (USAGE, gender, color)
    classifier = FashionClassifier(Checkpoint(random_model(attributes=attributes), encoders_of(attributes), "other"))
    with serving(classifier) as address:
        result = Client(address, verbose=False).predict(handle_file(EXAMPLE), api_name="/predict")
    prediction = classifier.predict([EXAMPLE])[0]
    assert len(result) == 6
    for name, answer in zip(("color", "gender", "usage"), (result[0], result[1], result[3]), strict=True):
        check_answer(answer, prediction[name])
    check_overlay(result[2], classifier.explain(EXAMPLE, "usage"))  # the first one, as it has no product type
    assert result[4] == sentence_of(classifier, EXAMPLE)


def test_what_is_no_fashion_product_gets_a_notice_beside_the_labels(client, tmp_path):
    picture = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(picture)
    *labels, overlay, notice, is_fashion = client.predict(handle_file(picture), api_name="/predict")
    assert (notice, is_fashion) == (NOT_FASHION, False)
    assert len(labels) == 4
    with Image.open(overlay) as image:
        assert image.size == (300, 300)


def test_the_overlay_is_that_of_the_attribute_the_opacity_and_the_label_asked_for(client, classifier):
    for name, opacity in (("product_type", 0.7), ("color", 0.2)):
        path = client.predict(handle_file(EXAMPLE), name, opacity, api_name="/predict")[4]
        check_overlay(path, classifier.explain(EXAMPLE, name, opacity=opacity))
    path = client.predict(handle_file(EXAMPLE), "product_type", "Sandals", 0.5, "hirescam", api_name="/explain")
    check_overlay(path, classifier.explain(EXAMPLE, "product_type", "Sandals", opacity=0.5, method="hirescam"))
    for wrong in (1.5, "much"):
        with pytest.raises(AppError, match="the opacity must be from 0 to 1"):
            client.predict(handle_file(EXAMPLE), "color", wrong, api_name="/predict")


def test_labels_and_model_say_what_is_served(client, classifier):
    assert client.predict(api_name="/labels") == {n: list(found) for n, found in classifier.encoders.labels.items()}
    assert client.predict(api_name="/model") == {
        "models": ["embedded default"],
        "name": "embedded default",
        "backbone": classifier.config.backbone,
        "image_size": list(classifier.config.image_size),
        "attributes": {a.name: a.title for a in classifier.attributes},
    }


WRONG = [(b"", "empty"), (b"a letter", "not an image"), (EXAMPLE.read_bytes()[:2000], "damaged or cut off")]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_what_is_no_photograph_is_the_same_sentence_to_every_client(client, served, tmp_path, content, message):
    path = tmp_path / "upload.jpg"
    path.write_bytes(content)
    with pytest.raises(AppError, match=message) as raised:
        client.predict(handle_file(path), api_name="/predict")
    answer = httpx2.post(f"{served}predict", files={"file": ("upload.jpg", content)})
    assert (answer.status_code, answer.json()) == (400, {"error": str(raised.value)})


def test_nothing_and_unknown_names_are_messages_to_the_client(client):
    with pytest.raises(AppError, match="choose a photograph first"):
        client.predict(None, api_name="/predict")
    with pytest.raises(AppError, match="unknown attribute 'usage'"):  # which another checkpoint has
        client.predict(handle_file(EXAMPLE), "usage", api_name="/predict")
    with pytest.raises(AppError, match="Spacesuits"):
        client.predict(handle_file(EXAMPLE), "product_type", "Spacesuits", api_name="/explain")
    with pytest.raises(AppError, match="unknown method 'magic'"):
        client.predict(handle_file(EXAMPLE), "product_type", "", 0.5, "magic", api_name="/explain")
    with pytest.raises(AppError, match="the model 'other' is not served here"):
        client.predict(handle_file(EXAMPLE), model="other", api_name="/predict")


def test_a_path_on_the_server_is_not_opened(client, tmp_path):
    secret = shutil.copyfile(EXAMPLE, tmp_path / "secret.jpg")
    for endpoint in ("/predict", "/explain", "/classify"):
        with pytest.raises(AppError, match="has to be uploaded"):
            client.predict({"path": str(secret)}, api_name=endpoint)


def test_a_file_beyond_the_limit_is_refused(client, served, tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((3600, 3600), 100).save(path)
    assert path.stat().st_size > 10 * 2**20
    with pytest.raises(AppError, match="exceeds 10 MB"):
        client.predict(handle_file(path), api_name="/predict")
    answer = httpx2.post(f"{served}predict", files={"file": ("large.png", path.read_bytes())}, timeout=60)
    assert (answer.status_code, answer.json()) == (413, {"error": TOO_LARGE})


@pytest.mark.slow
def test_several_visitors_get_their_own_answers(served, classifier):
    def ask(path):
        return Client(served, verbose=False).predict(handle_file(path), api_name="/predict")[1]["label"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, PATHS))
    assert answers == [p.product_type.label for p in classifier.predict(PATHS)]


def test_one_request_is_enough(served, classifier):
    answer = httpx2.post(f"{served}predict", files={"file": ("shoe.jpg", EXAMPLE.read_bytes())})
    document = answer.json()
    overlay = document.pop("overlay")
    prediction = classifier.predict([EXAMPLE])[0]
    assert document == Result("shoe.jpg", classifier.name, prediction, classifier.attributes).to_dict()
    check_overlay(httpx2.get(overlay).content, classifier.explain(EXAMPLE, "product_type"))


def test_behind_a_proxy_the_overlay_has_the_proxys_address(served):
    headers = {"x-forwarded-host": "shoes.example.com", "x-forwarded-proto": "https"}
    answer = httpx2.post(f"{served}predict", files={"file": ("shoe.jpg", EXAMPLE.read_bytes())}, headers=headers)
    assert answer.json()["overlay"].startswith("https://shoes.example.com/gradio_api/file=")


def test_a_private_event_opens_no_path_on_the_server_either(served, client):
    """What the page's script sends as the path of an uploaded file."""
    names = [[name for _, name in d["targets"]] for d in client.config["dependencies"]]
    (function,) = [d["id"] for d, events in zip(client.config["dependencies"], names, strict=True) if "send" in events]
    for path in (str(ROOT / "requirements.txt"), "/etc/hostname", None):
        body = {
            "fn_index": function,
            "data": [None],
            "event_data": {"path": path, "name": "x.jpg"},
            "session_hash": "x",
        }
        joined = httpx2.post(f"{served}gradio_api/queue/join", json=body)
        assert joined.status_code == 200
        stream = httpx2.get(f"{served}gradio_api/queue/data", params={"session_hash": "x"}, timeout=60).text
        messages = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.strip()]
        (output,) = [message["output"] for message in messages if message["msg"] == "process_completed"]
        assert output.get("data", [None])[0] is None  # gradio or the page refuses it
        assert "error" in output or "has to be uploaded" in output["data"][1]


def test_one_request_without_a_photograph_says_how_to_send_one(served):
    for request in ({}, {"data": {"file": "shoe.jpg"}}, {"files": {"photo": ("shoe.jpg", b"")}}, {"content": b"x"}):
        answer = httpx2.post(f"{served}predict", **request)
        assert answer.status_code == 400
        assert "curl -F file=@" in answer.json()["error"]


@pytest.fixture
def launched(tiny_classifier):
    with launching(tiny_classifier) as page_and_address:
        yield page_and_address


def send(address, data):
    return httpx2.post(f"{address}predict", files={"file": data}, timeout=60)


def test_photographs_sent_one_after_another_share_a_session(launched, tiny_classifier):
    demo, address = launched

    def right(path):
        answer = send(address, path.read_bytes()).raise_for_status().json()
        expected = tiny_classifier.predict([path])[0]
        assert {n: answer[n]["confidence"] for n in NAMES} == pytest.approx(
            {n: expected[n].confidence for n in NAMES}, abs=1e-4
        )

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(right, PATHS))
    assert send(address, b"no photograph").status_code == 400
    right(EXAMPLE)
    assert len(demo.state_holder.session_data) <= 3 < len(PATHS)


@pytest.fixture
def go_on(tiny_classifier, monkeypatch):
    """No photograph is answered before it is set."""
    event, answer = threading.Event(), tiny_classifier.predict_and_explain
    monkeypatch.setattr(tiny_classifier, "predict_and_explain", lambda *a, **o: event.wait(60) and answer(*a, **o))
    yield event
    event.set()


@pytest.mark.slow
def test_a_session_whose_answer_was_not_read_is_not_used_again(launched, go_on):
    demo, address = launched
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, address, EXAMPLE.read_bytes())
        while not demo._queue.event_ids_to_events:
            time.sleep(0.02)
        demo._queue.pending_messages_per_session.clear()
        assert first.result().status_code == 400  # gradio looks after ten seconds
        go_on.set()
        assert send(address, EXAMPLE.read_bytes()).status_code == 200
    assert len(demo.state_holder.session_data) == 2


def test_newcomers_do_not_push_out_a_session_that_waits(launched, go_on):
    demo, address = launched
    demo._queue.pending_messages_per_session.max_size = WORKERS + 2
    with httpx2.Client(base_url=f"{address}gradio_api/", timeout=60) as http:
        (path,) = http.post("upload", files={"files": EXAMPLE.read_bytes()}).json()
        photo = {"path": path, "meta": {"_type": "gradio.FileData"}}

        def asked(endpoint, session, *data):
            body = {"data": data, "session_hash": session}
            return endpoint, http.post(f"call/{endpoint}", json=body).raise_for_status().json()["event_id"]

        def answered(endpoint, event):
            return "event: complete" in http.get(f"call/{endpoint}/{event}").text

        assert answered(*asked("labels", "old"))
        assert answered(*asked("labels", "idle"))
        sessions = [*(f"running {number}" for number in range(WORKERS)), "old"]
        events = [asked("predict", session, photo, "color", 0.5, 5, "") for session in sessions]
        assert answered(*asked("labels", "new"))
        go_on.set()
        assert all(answered(*event) for event in events)
        assert answered(*asked("labels", "newer"))


def test_the_smallest_body_is_enough_for_plain_http(served, classifier):
    (path,) = httpx2.post(f"{served}gradio_api/upload", files={"files": EXAMPLE.read_bytes()}).json()
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = f"{served}gradio_api/call/v2/predict"
    event = httpx2.post(call, json={"photo": photo}).json()["event_id"]
    text = httpx2.get(f"{served}gradio_api/call/predict/{event}").text
    assert "event: complete" in text
    assert json.loads(text.rpartition("data: ")[2])[1]["label"] == classifier.predict([EXAMPLE])[0].product_type.label


@asynccontextmanager
async def mcp_session(address):
    async with (
        streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def data_url(content):
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


async def call(address, tool, **arguments):
    async with mcp_session(address) as session:
        return await session.call_tool(tool, arguments)


def test_an_mcp_client_finds_tools_that_explain_themselves(served):
    async def tools():
        async with mcp_session(served) as session:
            return {tool.name: tool for tool in (await session.list_tools()).tools}

    found = asyncio.run(tools())
    assert set(found) == {"classify_photograph", "explain_photograph", "labels"}
    classify = found["classify_photograph"]
    assert "Color, product type, season of use and target gender" in classify.description
    assert "JPEG, PNG, WebP or HEIC" in classify.inputSchema["properties"]["photo"]["description"]
    assert classify.inputSchema.get("required", ["photo"]) == ["photo"]


@pytest.mark.slow
def test_an_mcp_client_gets_labels_as_text_and_the_overlay_as_an_image(served, classifier):
    answer = asyncio.run(call(served, "classify_photograph", photo=data_url(EXAMPLE.read_bytes())))
    assert not answer.isError
    document = json.loads(answer.content[0].text)
    check_answer(document["product_type"], classifier.predict([EXAMPLE])[0].product_type)
    arguments = {"photo": data_url(EXAMPLE.read_bytes()), "attribute": "product_type", "label": "Sandals"}
    overlay = asyncio.run(call(served, "explain_photograph", **arguments)).content[0]
    assert overlay.type == "image"
    check_overlay(base64.b64decode(overlay.data), classifier.explain(EXAMPLE, "product_type", "Sandals"))
    labels = asyncio.run(call(served, "labels"))
    assert ast.literal_eval(labels.content[0].text)["season"] == list(classifier.encoders.labels["season"])


@pytest.mark.slow
def test_an_mcp_client_is_told_what_is_wrong(served):
    answer = asyncio.run(call(served, "classify_photograph", photo="/etc/hostname"))
    assert answer.isError
    answer = asyncio.run(call(served, "classify_photograph", photo=data_url(b"a letter")))
    assert answer.isError
    assert "not an image" in answer.content[0].text


def test_no_request_goes_round_the_queue(served):
    for name in ("predict", "explain", "predict_batch", "classify"):
        answer = httpx2.post(f"{served}gradio_api/run/{name}", json={"data": [None]})
        assert answer.status_code == 404
        assert "join the queue" in answer.json()["detail"]
