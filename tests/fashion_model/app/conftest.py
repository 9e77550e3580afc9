"""Clients of the one running page, and uploads."""

import socket
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest
from gradio_client import Client

from fashion_model.app.visit import EXAMPLES, FIRST
from fashion_model.images import open_image

PATHS = [path for path in EXAMPLES if path.name != FIRST]  # of one product, or none
SHOES = PATHS[0]
SHOES_JPEG = SHOES.read_bytes()


@pytest.fixture(scope="session")
def client(served):
    return Client(served, verbose=False)


@pytest.fixture
def http(served):
    with httpx2.Client(base_url=served, timeout=60) as http:
        yield http


def sent(http, count=1):
    """Photographs that were uploaded by plain HTTP, as inputs of an endpoint."""
    photographs = [("files", (f"{i}.jpg", SHOES.read_bytes())) for i in range(count)]
    paths = http.post("/gradio_api/upload", files=photographs).json()
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def called(http, endpoint, **inputs):
    """Call an endpoint by plain HTTP; the path of the answer's events."""
    event = http.post(f"/gradio_api/call/v2/{endpoint}", json=inputs).json()["event_id"]
    return f"/gradio_api/call/{endpoint}/{event}"


def post(address, content=SHOES_JPEG, name="shoe.jpg", **query):
    """The response to `POST /predict`."""
    return httpx2.post(f"{address}predict", files={"file": (name, content)}, params=query, timeout=60)


@contextmanager
def beginning(address, path):
    """A connection that has sent the head of a request and the first byte of its body."""
    host, port = address.removeprefix("http://").partition("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n-".encode())
        yield connection


def check_overlay(source, expected):
    """JPEG changes an overlay little, and so does the browser, which enlarges a small map."""
    overlay = open_image(source)
    assert overlay.size == expected.size
    assert np.abs(np.asarray(overlay).astype(int) - np.asarray(expected).astype(int)).mean() < 4
