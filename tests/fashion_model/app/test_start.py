"""Starting and stopping the app, also as others run it: behind nginx under a path, and with the container's files."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import gradio as gr
import httpx2
import pytest
from gradio_client import Client, handle_file

from app import load_classifier, main
from fashion_model.app.page import build_page
from fashion_model.app.routes import MAX_REQUESTS
from tests.conftest import ROOT, contents, free_port, running_app, serving, wait_for_server
from tests.fashion_model.app.conftest import SHOES, beginning, called, post, sent

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
README = (ROOT / "fashion_model" / "README.md").read_text(encoding="utf-8")
DOCUMENTED = re.search(r"```nginx\n(.*?)```", README, re.DOTALL)[1]


def test_fashion_model_names_the_checkpoint(tiny_checkpoint, monkeypatch, tmp_path, hub):
    hub.add("model", "user/served", contents(tiny_checkpoint))
    for name in (str(tiny_checkpoint), "user/served@main"):
        monkeypatch.setenv("FASHION_MODEL", name)
        classifier, warning = load_classifier()
        assert (classifier.name, warning) == (name.replace(str(tiny_checkpoint), tiny_checkpoint.name), "")
    monkeypatch.setenv("FASHION_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json is missing"):
        main()


def test_default_replaces_what_the_hub_fails_to_send(hub, tiny_checkpoint, monkeypatch):
    hub.add("model", "user/hanging", contents(tiny_checkpoint))
    hub.fault("/resolve/.*safetensors", "hang")
    monkeypatch.setenv("FASHION_MODEL", "user/hanging@main")
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "1")
    classifier, warning = load_classifier()
    assert classifier.name == "embedded default"
    assert warning.startswith("user/hanging@main cannot be loaded from the Hub: ")
    assert "sent nothing for 1 s" in warning
    (shown,) = [c for c in build_page(classifier, warning).blocks.values() if c.elem_id == "warning"]
    assert (shown.visible, shown.value) == (True, f"**{warning}**")


@pytest.mark.parametrize(
    ("variable", "values", "sentence"),
    [
        ("FASHION_MODEL_TIMEOUT", ["soon", "nan", "0", "inf"], "FASHION_MODEL_TIMEOUT has to be a number of seconds"),
        ("GRADIO_SERVER_PORT", ["tcp://10.0.0.1:80", "", "65536"], "GRADIO_SERVER_PORT has to be a number from 1 to"),
        ("GRADIO_DEFAULT_CONCURRENCY_LIMIT", ["many", "0"], "GRADIO_DEFAULT_CONCURRENCY_LIMIT has to be a number from"),
        ("GRADIO_DEBUG", ["true"], "GRADIO_DEBUG has to be a number from 0"),
        ("GRADIO_ROOT_PATH", ["fashion"], "GRADIO_ROOT_PATH has to begin with a slash"),
        ("GRADIO_TEMP_DIR", [f"{__file__}/x"], "uploads need a folder to write to, which GRADIO_TEMP_DIR can name: "),
    ],
)
def test_variable_that_cannot_be_used_is_a_sentence(monkeypatch, variable, values, sentence):
    for value in values:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit, match=f"app: {sentence}.*{re.escape(value)}"):
            main()


def test_space_installs_the_gradio_tested_here():
    assert f"gradio[mcp]=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def proxied(classifier, monkeypatch, tmp_path):
    """The address of nginx with the documented configuration, before the app."""
    nginx, port = shutil.which("nginx"), free_port()
    if not nginx:
        assert not os.environ.get("CI"), "CI has to install nginx"
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/fashion")
    with serving(classifier) as address:
        (tmp_path / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''} daemon off; pid {tmp_path}/pid;\n"
            f"error_log {tmp_path}/log; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;\n"
            f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
            f"server {{ listen 127.0.0.1:{port};\n{DOCUMENTED.replace('http://127.0.0.1:7860/', address)}\n}} }}"
        )
        with subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]) as process:
            try:
                wait_for_server(f"http://127.0.0.1:{port}/fashion/", process)
                yield f"http://127.0.0.1:{port}/fashion/"
            finally:
                process.terminate()


@pytest.mark.slow
def test_app_answers_behind_nginx_under_a_path(proxied, classifier):
    page = httpx2.get(proxied)
    assert not re.findall(r'(?:src|href)="(/(?!fashion/|manifest.json)[^"]*)"', page.text)
    labels = Client(proxied, verbose=False).predict(handle_file(SHOES), api_name="/predict")
    assert labels[1]["label"] == classifier.predict([SHOES])[0].product_type.label
    overlay = post(proxied).json()["overlay"]
    assert overlay.startswith(f"{proxied}overlays/")
    for address in (overlay, f"{proxied}report", f"{proxied}examples/{SHOES.name}"):
        assert httpx2.get(address).status_code == 200
    # Bodies that do not arrive stay in nginx.
    with ExitStack() as connections:
        for _ in range(MAX_REQUESTS + 1):
            connections.enter_context(beginning(proxied, "/fashion/predict"))
        assert post(proxied).status_code == 200


@pytest.mark.slow
def test_files_of_the_container_are_enough(tmp_path):
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, tmp_path / target)
    (check,) = re.findall(r"HEALTHCHECK .*?CMD python (.*)", DOCKERFILE, re.DOTALL)
    uploads = tmp_path / "uploads"
    with running_app(tmp_path, GRADIO_TEMP_DIR=str(uploads)) as (address, _):
        for checked, healthy in ((address, True), ("http://127.0.0.1:9", False)):
            arguments = shlex.split(check.splitlines()[0].replace("http://127.0.0.1:7860", checked))
            run = subprocess.run([sys.executable, *arguments], check=False, stderr=subprocess.DEVNULL)
            assert (run.returncode == 0) == healthy
        assert post(f"{address}/").json()["product_type"]["label"] == "Casual Shoes"
        # A folder of uploads that someone has deleted is private again.
        shutil.rmtree(uploads)
        assert post(f"{address}/").status_code == 200
        assert [path.stat().st_mode & 0o077 for path in (uploads, *uploads.rglob("*"))] == [0] * 4


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signal_stops_the_app_soon():
    """With a page that is open, and a batch in progress; status 0 shows that the app has handled it itself."""
    with running_app(ROOT) as (address, process), httpx2.Client(base_url=address, timeout=60) as http:
        batch = called(http, "predict_batch", files=sent(http, 200))
        with http.stream("GET", batch) as page:
            next(page.iter_lines())
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert time.monotonic() - began < 3
