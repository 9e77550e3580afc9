"""Each part of gradio that is used without being documented works, in this version and in the newest one."""

import importlib.metadata
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from fashion_model import ImageError
from fashion_model.app.disk import folder
from fashion_model.app.gradio_private import NOT_DOWNLOADED, PRIVATE_ADDRESS, downloaded
from fashion_model.app.page import launch
from tests.conftest import ROOT, free_port
from tests.fashion_model.app.conftest import SHOES

HERE = Path(__file__).parent
TESTS = [HERE / f"test_{name}.py" for name in ("gradio_private", "routes", "api")]  # that use all parts


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1/x.jpg", PRIVATE_ADDRESS),
        ("http://[::1]/x.jpg", PRIVATE_ADDRESS),
        ("http:///x.jpg", NOT_DOWNLOADED),
    ],
)
def test_address_that_is_not_public_is_refused(address, message):
    with pytest.raises(ImageError, match=re.escape(message)):
        downloaded(address, folder())


def test_forgotten_sessions_do_not_stop_the_queue(tiny_classifier):
    """Gradio keeps 2,000 sessions, and of older ones forgets also those that wait."""
    page, address = launch(tiny_classifier, quiet=True, server_port=free_port())
    with closing(page), httpx2.Client(base_url=f"{address}gradio_api/") as http:
        page._queue.pending_messages_per_session.max_size = 3
        uploads = [("files", (f"{number}.jpg", SHOES.read_bytes())) for number in range(100)]
        paths = http.post("upload", files=uploads, timeout=60).json()
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        for number in range(6):
            session = {"session_hash": f"batch {number}"}
            assert http.post("call/predict_batch", json={"data": [files]} | session).status_code == 200
        for _ in range(2):
            event = http.post("call/labels", json={"data": []}).raise_for_status().json()["event_id"]
            assert "event: complete" in http.get(f"call/labels/{event}", timeout=60).text


@pytest.mark.slow
def test_newest_gradio_has_the_same_parts(tmp_path):
    installed = importlib.metadata.version("gradio")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    index = subprocess.run([*pip, "index", "versions", "gradio"], capture_output=True, text=True, timeout=60)
    newest = re.search(r"gradio \((\S+)\)", index.stdout)
    if not newest:
        pytest.skip(f"the package index does not answer: {index.stderr.strip()[-200:]}")
    if newest[1] == installed:
        pytest.skip(f"{installed} is the newest gradio on the package index")
    install = [*pip, "install", "-q", "--no-deps", "--target", tmp_path, f"gradio=={newest[1]}", "gradio_client"]
    subprocess.run(install, check=True, timeout=300)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "not newest", *TESTS]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
