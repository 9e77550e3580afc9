"""The limits that stand before gradio's routes, seen from outside."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from fashion_model.app import gate, uploads
from fashion_model.app.examples import EXAMPLES
from fashion_model.classifier import open_for_network
from tests.conftest import serving

PHOTOGRAPH = next(iter(EXAMPLES.values())).path


@pytest.fixture
def http(fake):
    with httpx2.Client(base_url=fake, timeout=60) as client:
        yield client


def upload(http, count):
    files = [("files", (f"{i}.jpg", PHOTOGRAPH.read_bytes())) for i in range(count)]
    paths = http.post("/gradio_api/upload", files=files).json()
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


@contextmanager
def beginning(address, path, size):
    """A connection that has sent the head of a request and the first byte of its body."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n-".encode())
        yield connection


@pytest.mark.parametrize(
    ("path", "megabytes"),
    [("queue/join", 2), ("call/v2/predict", 2), ("run/predict", 300), ("component_server", 2)],
)
def test_a_body_beyond_the_limit_is_refused(http, path, megabytes):
    answer = http.post(f"/gradio_api/{path}", content=b" " * (megabytes * 2**20))
    assert (answer.status_code, answer.json()) == (413, {"error": gate.TOO_LARGE})
    assert http.post("/gradio_api/mcp/", content=b" " * 20 * 2**20).status_code == 413


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload", "/predict"])
def test_a_body_that_does_not_arrive_is_refused(fake, monkeypatch, path):
    monkeypatch.setattr(gate, "GRACE", 0.5)
    with beginning(fake, path, size=1000) as connection:
        answer = b"".join(iter(lambda: connection.recv(10_000), b"")).decode()
    assert " 408 " in answer.splitlines()[0]
    assert gate.TOO_SLOW in answer


def test_uploads_beyond_the_places_wait_for_one(fake, http, monkeypatch):
    monkeypatch.setattr(gate, "WAIT", 0.5)
    with ExitStack() as opened:
        for _ in range(gate.UPLOADS):
            opened.enter_context(beginning(fake, "/gradio_api/upload", size=1000))
        time.sleep(0.5)
        for path, field in (("/gradio_api/upload", "files"), ("/predict", "file")):
            refused = http.post(path, files={field: ("a.jpg", b"x")})
            assert (refused.status_code, refused.json()) == (503, {"error": gate.BUSY})
        assert http.get("/gradio_api/info").status_code == 200
    monkeypatch.undo()
    assert http.post("/gradio_api/upload", files={"files": ("a.jpg", b"x")}).status_code == 200


def test_more_photographs_than_places_are_all_answered(fake, monkeypatch):
    """`POST /predict` asks gradio's upload in its turn."""
    monkeypatch.setattr(gate, "WAIT", 20)

    def post(_):
        return httpx2.post(f"{fake}predict", files={"file": ("a.jpg", PHOTOGRAPH.read_bytes())}, timeout=120)

    with ThreadPoolExecutor(2 * gate.UPLOADS) as pool:
        assert {answer.status_code for answer in pool.map(post, range(2 * gate.UPLOADS))} == {200}


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/call/v2/nothing", "/nothing"])
def test_every_answer_has_the_security_headers(http, path):
    headers = http.get(path).headers
    assert headers.items() >= gate.HEADERS.items()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("call/nothing", {"data": []}),
        ("call/v2/nothing", {}),
        ("call/v2/predict", {"unknown": 1}),
        ("run/nothing", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "a"}),
        ("component_server", {"data": 1, "fn_name": "x", "component_id": 9999, "session_hash": "a"}),
    ],
)
def test_a_request_for_what_does_not_exist_is_a_sentence(http, capfd, path, body):
    answer = http.post(f"/gradio_api/{path}", json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": gate.NOT_UNDERSTOOD})
    log = capfd.readouterr().err
    assert "Traceback" not in log
    assert f"app: POST '/gradio_api/{path}': " in log


def test_a_file_without_a_name_is_a_sentence(http, capfd):
    answer = http.post("/gradio_api/upload", files=[("files", ("", b"x"))])
    assert (answer.status_code, answer.json()) == (400, {"error": gate.NOT_UNDERSTOOD})
    assert "Traceback" not in capfd.readouterr().err


def test_an_event_that_does_not_exist_ends_without_a_traceback(http, capfd):
    answer = http.get("/gradio_api/call/predict/nothing")
    assert "404" in answer.text
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("data", [[], [1] * 20, [{"path": 1}] * 20, ["x"] * 20])
def test_every_event_answers_a_payload_of_another_shape_with_a_sentence(http, capfd, data):
    events = [event["id"] for event in http.get("/config").json()["dependencies"] if event["backend_fn"]]
    assert len(events) > 8
    for number in events:
        session = f"session {number} {len(data)}"
        joined = http.post("/gradio_api/queue/join", json={"data": data, "fn_index": number, "session_hash": session})
        assert joined.status_code == 200
        with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            messages = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        (completed,) = [message for message in messages if message["msg"] == "process_completed"]
        assert completed["success"] or completed["output"]["error"], (number, completed)
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def read(monkeypatch):
    """The photographs that batches have read; each takes a twentieth of a second."""
    found = []

    def slowly(source):
        found.append(source)
        time.sleep(0.05)
        return open_for_network(source)

    monkeypatch.setattr(uploads, "open_for_network", slowly)
    return found


def begin_batch(http, count):
    """The address of its answer."""
    event = http.post("/gradio_api/call/v2/predict_batch", json={"files": upload(http, count)}).json()["event_id"]
    return f"/gradio_api/call/predict_batch/{event}"


@pytest.mark.slow
def test_a_batch_stops_when_the_client_leaves(tiny_classifier, read):
    with serving(tiny_classifier) as address, httpx2.Client(base_url=address, timeout=60) as http:
        with http.stream("GET", begin_batch(http, 200)) as answer:
            next(answer.iter_lines())
        (*_, last) = http.get(begin_batch(http, 1)).text.strip().splitlines()
        assert "1 of 1 files could be read" in last
    assert len(read) < 100


@pytest.mark.slow
def test_a_batch_stops_when_nobody_ever_listens(tiny_classifier, read, monkeypatch):
    monkeypatch.setattr(gate, "UNHEARD", 0.5)
    with serving(tiny_classifier) as address, httpx2.Client(base_url=address, timeout=60) as http:
        begin_batch(http, 200)
        (*_, last) = http.get(begin_batch(http, 1)).text.strip().splitlines()
        assert "1 of 1 files could be read" in last
    assert len(read) < 100
