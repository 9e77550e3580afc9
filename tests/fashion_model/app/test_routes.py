"""What surrounds gradio, seen from outside: limits, headers, errors, the report."""

import json
import time

import httpx2
import pytest

from fashion_model.app import routes, uploads
from fashion_model.app.gradio_private import NOT_UNDERSTOOD
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, REPORT
from fashion_model.classifier import open_for_network
from tests.fashion_model.app.conftest import SHOES


@pytest.fixture
def http(served):
    with httpx2.Client(base_url=served, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "megabytes", "chunked"),
    [
        ("gradio_api/queue/join", 2, False),
        ("gradio_api/queue/join", 2, True),
        ("gradio_api/call/v2/predict", 2, False),
        ("gradio_api/run/predict", 300, False),
        ("gradio_api/component_server", 2, False),
        ("gradio_api/mcp/", 20, False),
        ("predict", 16, False),
        ("predict", 16, True),
    ],
)
def test_body_beyond_the_limit_is_refused(http, path, megabytes, chunked):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' if path == "predict" else b""
    pieces = [head, *[b" " * 2**20] * megabytes]
    headers = {"content-type": "multipart/form-data; boundary=x"} if head else {}
    response = http.post(f"/{path}", content=iter(pieces) if chunked else b"".join(pieces), headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/call/v2/nothing", "/nothing"])
def test_every_response_has_the_security_headers(http, path):
    headers = dict(http.get(path).headers.raw)
    assert headers.items() >= routes.SECURITY_HEADERS.items()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("call/nothing", {"json": {"data": []}}),
        ("call/v2/nothing", {"json": {}}),
        ("call/v2/predict", {"json": {"unknown": 1}}),
        ("run/nothing", {"json": {"data": []}}),
        ("queue/join", {"json": {"data": [], "fn_index": 9999, "session_hash": "a"}}),
        ("component_server", {"json": {"data": 1, "fn_name": "x", "component_id": 9999, "session_hash": "a"}}),
        ("upload", {"files": [("files", ("", b"x"))]}),
    ],
)
def test_request_for_nothing_is_a_sentence(http, capfd, path, body):
    response = http.post(f"/gradio_api/{path}", **body)
    assert (response.status_code, response.json()) == (400, {"error": NOT_UNDERSTOOD})
    log = capfd.readouterr().err
    assert "Traceback" not in log
    assert f"app: POST '/gradio_api/{path}': " in log


def test_event_that_does_not_exist_has_no_traceback(http, capfd):
    assert "404" in http.get("/gradio_api/call/predict/nothing").text
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("data", [[], [1] * 20, [{"path": 1}] * 20, ["x"] * 20])
def test_payload_of_another_shape_is_a_sentence(http, capfd, data):
    events = [event["id"] for event in http.get("/config").json()["dependencies"] if event["backend_fn"]]
    assert len(events) > 8
    for number in events:
        session = f"session {number} {len(data)}"
        body = {"data": data, "fn_index": number, "session_hash": session, "event_data": {"index": "x"}}
        joined = http.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200
        with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            messages = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        (completed,) = [message for message in messages if message["msg"] == "process_completed"]
        assert completed["success"] or completed["output"]["error"], (number, completed)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("examples/../../config.json", 404),
        ("examples/%2e%2e/attributes.py", 404),
        ("examples/2315.jpg", 200),
        (f"overlays/{'0' * 64}.jpeg", 404),
        ("overlays/..%2f..%2fetc.jpeg", 404),
        ("report", 200),
    ],
)
def test_only_what_exists_is_sent(http, path, status):
    assert http.get(f"/{path}").status_code == status


def test_report_is_sent_in_a_sandbox(http):
    response = http.get("/report")
    assert response.text == (DEFAULT_CHECKPOINT / REPORT).read_text(encoding="utf-8")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.slow
def test_batch_stops_when_the_client_leaves(http, monkeypatch):
    read = []

    def slowly(source):
        read.append(source)
        time.sleep(0.05)
        return open_for_network(source)

    def begin_batch(count):
        photographs = [("files", (f"{i}.jpg", SHOES.read_bytes())) for i in range(count)]
        paths = http.post("/gradio_api/upload", files=photographs).json()
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        event = http.post("/gradio_api/call/v2/predict_batch", json={"files": files}).json()["event_id"]
        return f"/gradio_api/call/predict_batch/{event}"

    monkeypatch.setattr(uploads, "open_for_network", slowly)
    with http.stream("GET", begin_batch(200)) as response:
        next(response.iter_lines())
    (*_, last) = http.get(begin_batch(1)).text.strip().splitlines()
    assert "1 of 1 files could be read" in last
    assert len(read) < 100
