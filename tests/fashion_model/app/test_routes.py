"""What surrounds gradio, seen from outside: limits, headers, errors, the report; and what gradio does not document."""

import importlib.metadata
import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from fashion_model.app import routes, uploads
from fashion_model.app.gradio_private import NOT_DOWNLOADED, NOT_UNDERSTOOD, PRIVATE_ADDRESS
from fashion_model.app.page import launch
from fashion_model.checkpoint import CARD, DEFAULT_CHECKPOINT, REPORT
from fashion_model.images import open_image
from tests.conftest import ROOT, free_port
from tests.fashion_model.app.conftest import called, sent

TESTS = [Path(__file__), Path(__file__).with_name("test_api.py")]  # that use all undocumented parts of gradio


@pytest.mark.parametrize(
    ("path", "megabytes", "chunked"),
    [
        ("gradio_api/queue/join", 2, True),
        ("gradio_api/call/v2/predict", 2, False),
        ("gradio_api/mcp/", 20, False),
        ("gradio_api/upload", 101, False),  # of one file
        ("predict", 16, True),
        ("answer", 16, False),
    ],
)
def test_body_beyond_the_limit_is_refused(http, path, megabytes, chunked):
    field = {"predict": "file", "answer": "file", "gradio_api/upload": "files"}.get(path)
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="a"\r\n\r\n'.encode() if field else b""
    pieces = [head, *[b" " * 2**20] * megabytes]
    headers = {"content-type": "multipart/form-data; boundary=x"} if field else {}
    response = http.post(f"/{path}", content=iter(pieces) if chunked else b"".join(pieces), headers=headers)
    assert response.status_code == 413


def test_every_response_has_the_security_headers(http):
    for path in ("/", "/nothing", "/gradio_api/call/v2/nothing"):
        assert dict(http.get(path).headers.raw).items() >= routes.SECURITY_HEADERS.items(), path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("call/nothing", {"json": {"data": []}}),
        ("call/v2/predict", {"json": {"unknown": 1}}),
        ("queue/join", {"json": {"data": [], "fn_index": 9999, "session_hash": "a"}}),
        ("component_server", {"json": {"data": 1, "fn_name": "x", "component_id": 9999, "session_hash": "a"}}),
        ("upload", {"files": [("files", ("", b"x"))]}),
    ],
)
def test_request_for_nothing_is_a_sentence(http, capfd, path, body):
    response = http.post(f"/gradio_api/{path}", **body)
    assert (response.status_code, response.json()) == (400, {"error": NOT_UNDERSTOOD})
    assert "404" in http.get("/gradio_api/call/predict/nothing").text
    log = capfd.readouterr().err
    assert "Traceback" not in log
    assert f"app: POST '/gradio_api/{path}': " in log


def output_of(http, event, data, event_data):
    """What an event of the page ends with."""
    session = {"session_hash": secrets.token_hex(4)}
    body = {"data": data, "fn_index": event, "event_data": event_data, **session}
    assert http.post("/gradio_api/queue/join", json=body).status_code == 200
    with http.stream("GET", "/gradio_api/queue/data", params=session) as stream:
        messages = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    (completed,) = [message for message in messages if message["msg"] == "process_completed"]
    assert completed["success"] or completed["output"]["error"], completed
    return completed["output"]


@pytest.mark.parametrize("data", [[], [1] * 20, [{"path": 1}] * 20])
def test_payload_of_another_shape_is_a_sentence(http, capfd, data):
    events = [event["id"] for event in http.get("/config").json()["dependencies"] if event["backend_fn"]]
    assert len(events) > 5
    for event in events:
        output_of(http, event, data, {"index": "x"})
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "Send one photograph"),
        ({"example": "../attributes.py"}, "There is no such example"),
        ({"example": "/etc/hostname"}, "There is no such example"),
        ({"address": "http://127.0.0.1/x.jpg"}, PRIVATE_ADDRESS),
        ({"address": "http://[::1]/x.jpg"}, PRIVATE_ADDRESS),
        ({"address": "http:///x.jpg"}, NOT_DOWNLOADED),
        ({"address": "file:///etc/hostname"}, "has to begin with http"),
        ({"example": "2250.jpg", "box": "nan,0,1,1"}, "a box is left, top, right and bottom"),
        ({"example": "2250.jpg", "box": "50,50,50,90"}, "a box is left, top, right and bottom"),
        ({"example": "2250.jpg", "box": f"0,0,50,50{' ' * 100}"}, "a box is left, top, right and bottom"),
    ],
)
def test_page_answers_a_wrong_question_with_a_sentence(http, form, message):
    response = http.post("/answer", files={name: (None, value) for name, value in form.items()})
    assert response.status_code == 200
    assert message in response.json()["error"]


def test_answer_is_compressed(http):
    response = http.post("/answer", files={"example": (None, "2250.jpg")})
    assert response.headers["content-encoding"] == "gzip"
    assert "flip flops" in response.json()["html"]


def test_link_to_the_page_has_a_preview(http, served):
    """In the HTML that is served: programs that show a link run no script."""
    page = http.get("/").text
    tags = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)">', page))
    assert tags["og:title"] == "Fashion Product Classifier"
    assert tags["og:url"] == served
    assert "Color, product type" in tags["og:description"] == tags["description"]
    assert http.get(tags["og:image"]).headers["content-type"] == "image/jpeg"
    assert "gradio.app" not in "".join(tags.values())
    assert page.count('property="og:title"') == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("examples/%2e%2e/attributes.py", 404),
        ("examples/..%2fattributes.py", 404),
        ("examples/2250.jpg", 200),
        (f"overlays/{'0' * 64}.jpeg", 404),
        ("overlays/..%2f..%2fetc.jpeg", 404),
    ],
)
def test_only_what_exists_is_sent(http, path, status):
    assert http.get(f"/{path}").status_code == status


POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("path", "file", "kind", "policy"), [("card", CARD, "plain", "frame-ancestors"), ("report", REPORT, "html", POLICY)]
)
def test_report_is_sent_in_a_sandbox(http, path, file, kind, policy):
    """And the model card as text."""
    response = http.get(f"/{path}")
    assert response.text == (DEFAULT_CHECKPOINT / file).read_text(encoding="utf-8")
    assert response.headers["content-type"] == f"text/{kind}; charset=utf-8"
    assert response.headers["content-security-policy"].startswith(policy)


@pytest.mark.slow
def test_batch_stops_when_the_client_leaves(http, monkeypatch):
    read = []

    def slowly(source, detail):
        read.append(source)
        time.sleep(0.05)
        return open_image(source, detail)

    monkeypatch.setattr(uploads, "open_image", slowly)
    with http.stream("GET", called(http, "predict_batch", files=sent(http, 200))) as response:
        next(response.iter_lines())
    (*_, last) = http.get(called(http, "predict_batch", files=sent(http))).text.strip().splitlines()
    assert "1 of 1 files could be read" in last
    assert len(read) < 100


def test_forgotten_sessions_do_not_stop_the_queue(tiny_classifier):
    """Gradio keeps 2,000 sessions, and of older ones forgets also those that wait."""
    page, address = launch(tiny_classifier, quiet=True, server_port=free_port())
    with closing(page), httpx2.Client(base_url=address, timeout=60) as http:
        page._queue.pending_messages_per_session.max_size = 3
        files = sent(http, 100)
        for number in range(6):
            body = {"data": [files], "session_hash": f"batch {number}"}
            assert http.post("/gradio_api/call/predict_batch", json=body).status_code == 200
        for _ in range(2):
            event = http.post("/gradio_api/call/labels", json={"data": []}).raise_for_status().json()["event_id"]
            assert "event: complete" in http.get(f"/gradio_api/call/labels/{event}").text


@pytest.mark.slow
def test_newest_gradio_has_the_same_parts(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    index = subprocess.run([*pip, "index", "versions", "gradio"], capture_output=True, text=True, timeout=60)
    newest = re.search(r"gradio \((\S+)\)", index.stdout)
    if not newest:
        pytest.skip(f"the package index does not answer: {index.stderr.strip()[-200:]}")
    if newest[1] == importlib.metadata.version("gradio"):
        pytest.skip("the newest gradio on the package index is installed")
    install = [*pip, "install", "-q", "--no-deps", "--target", tmp_path, f"gradio=={newest[1]}", "gradio_client"]
    subprocess.run(install, check=True, timeout=300)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "not newest", *TESTS]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
