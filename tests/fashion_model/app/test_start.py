"""Starting and stopping the app, also as others run it: behind nginx under a path, and with the container's files."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import gradio as gr
import httpx2
import pytest
from gradio_client import Client, handle_file

from app import load_classifier, main
from fashion_model.app.page import build_page
from fashion_model.app.routes import MAX_REQUESTS
from tests.conftest import ROOT, contents, free_port, responds, running_app, serving, wait_until
from tests.fashion_model.app.conftest import SHOES
from tests.fashion_model.app.test_api import beginning, post

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
README = (ROOT / "fashion_model" / "README.md").read_text(encoding="utf-8")
DOCUMENTED = re.search(r"```nginx\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.slow
def test_fashion_model_names_the_checkpoint(tiny_checkpoint, monkeypatch, tmp_path, hub):
    assert load_classifier()[0].name == "embedded default"
    monkeypatch.setenv("FASHION_MODEL", str(tiny_checkpoint))
    assert load_classifier()[0].name == tiny_checkpoint.name
    monkeypatch.setenv("FASHION_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json is missing"):
        main()
    commit = hub.add("model", "user/served", contents(tiny_checkpoint)).branches["main"]
    for name in ("user/served@main", f"user/served@{commit}"):
        monkeypatch.setenv("FASHION_MODEL", name)
        classifier, warning = load_classifier()
        assert (classifier.name, warning) == (name, "")


def test_default_replaces_what_the_hub_fails_to_send(hub, tiny_checkpoint, monkeypatch):
    hub.add("model", "user/hanging", contents(tiny_checkpoint))
    hub.fault("/resolve/.*safetensors", "hang")
    monkeypatch.setenv("FASHION_MODEL", "user/hanging@main")
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "1")
    classifier, warning = load_classifier()
    assert classifier.name == "embedded default"
    assert warning.startswith("user/hanging@main cannot be loaded from the Hub: ")
    assert "sent nothing for 1 s" in warning


@pytest.mark.parametrize("warning", ["", "The Hub is away."])
def test_page_shows_a_warning_if_there_is_one(tiny_classifier, warning):
    (shown,) = [c for c in build_page(tiny_classifier, warning).blocks.values() if c.elem_id == "warning"]
    assert (shown.visible, shown.value) == (bool(warning), f"**{warning}**")


@pytest.mark.parametrize(
    ("variable", "values", "sentence"),
    [
        ("FASHION_MODEL_TIMEOUT", ["soon", "nan", "0", "-1", "inf"], "has to be a number of seconds"),
        ("GRADIO_SERVER_PORT", ["tcp://10.0.0.1:80", "", "0", "65536", "-1"], "has to be a number from 1 to 65535"),
        ("GRADIO_NUM_PORTS", ["many"], "has to be a number from 1 to 65535"),
    ],
)
def test_variable_that_is_no_number_is_a_sentence(monkeypatch, variable, values, sentence):
    for value in values:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit, match=f"app: {variable} {sentence}; it is {value!r}"):
            main()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("GRADIO_SERVER_PORT", "app: GRADIO_SERVER_PORT has to be a number from 1 to 65535; it is '{}'"),
        ("GRADIO_TEMP_DIR", "app: uploads need a folder to write to, which GRADIO_TEMP_DIR can name: "),
    ],
)
def test_process_that_cannot_start_says_why(tmp_path, variable, sentence):
    (tmp_path / "file").touch()
    value = str(tmp_path / "file" / "folder")
    environment = os.environ | {variable: value}
    run = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith(sentence.format(value))
    assert "Traceback" not in run.stderr


def test_space_installs_the_gradio_tested_here():
    assert f"gradio[mcp]=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


@contextmanager
def nginx_before(address, folder):
    """The address of nginx with the documented configuration, before the app at `address`."""
    nginx, port = shutil.which("nginx"), free_port()
    if not nginx:
        assert not os.environ.get("CI"), "CI has to install nginx"
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} daemon off; pid {folder}/pid;\n"
        f"error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port};\n{DOCUMENTED.replace('http://127.0.0.1:7860/', address)}\n}} }}"
    )
    with subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as process:
        try:
            wait_until(lambda: responds(f"http://127.0.0.1:{port}/fashion/"))
            yield f"http://127.0.0.1:{port}/fashion/"
        finally:
            process.terminate()


@pytest.fixture
def proxied(classifier, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/fashion")
    with serving(classifier) as address, nginx_before(address, tmp_path) as proxied:
        yield proxied


@pytest.mark.slow
def test_app_answers_behind_nginx_under_a_path(proxied, classifier):
    page = httpx2.get(proxied)
    assert not re.findall(r'(?:src|href)="(/(?!fashion/|manifest.json)[^"]*)"', page.text)
    *labels, overlay, _, _ = Client(proxied, verbose=False).predict(handle_file(SHOES), api_name="/predict")
    prediction = classifier.predict([SHOES])[0]
    assert [value["label"] for value in labels] == [p.label for p in prediction.attributes.values()]
    assert os.path.getsize(overlay) > 1000  # noqa: PTH202 (the client gives text)
    document = post(proxied).json()
    assert document["overlay"].startswith(f"{proxied}overlays/")
    assert httpx2.get(document["overlay"]).headers["content-type"] == "image/jpeg"
    for path in ("report", f"examples/{SHOES.name}"):
        assert httpx2.get(f"{proxied}{path}").status_code == 200
    # Bodies that do not arrive stay in nginx.
    with ExitStack() as connections:
        for _ in range(MAX_REQUESTS + 1):
            connections.enter_context(beginning(proxied, "/fashion/predict"))
        assert post(proxied).status_code == 200


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    """The address of the app with the files that the Dockerfile copies, and its folder of uploads."""
    folder = tmp_path_factory.mktemp("container")
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, folder / target)
    with running_app(folder, GRADIO_TEMP_DIR=str(folder / "uploads")) as (address, _):
        yield f"{address}/", folder / "uploads"


@pytest.mark.slow
def test_files_of_the_container_are_enough(container):
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (.*)", DOCKERFILE, re.DOTALL)
    program, *arguments = shlex.split(check.splitlines()[0])
    assert program == "python"
    address, _ = container
    arguments = [argument.replace("http://127.0.0.1:7860/", address) for argument in arguments]
    assert subprocess.run([sys.executable, *arguments], check=False).returncode == 0
    assert post(address).json()["product_type"]["label"] == "Casual Shoes"
    elsewhere = [argument.replace(address, "http://127.0.0.1:9/") for argument in arguments]
    assert subprocess.run([sys.executable, *elsewhere], check=False, stderr=subprocess.DEVNULL).returncode != 0


@pytest.mark.slow
def test_folder_made_anew_is_private(container):
    address, uploads = container
    shutil.rmtree(uploads)
    assert post(address).status_code == 200
    assert [path.stat().st_mode & 0o077 for path in (uploads, *uploads.rglob("*"))] == [0] * 3


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_app_soon(number):
    """With a page that is open, and a batch in progress; status 0 shows that the app has handled it itself."""
    with running_app(ROOT) as (address, process), httpx2.Client(base_url=address, timeout=60) as http:
        photographs = [("files", (f"{i}.jpg", SHOES.read_bytes())) for i in range(200)]
        paths = http.post("/gradio_api/upload", files=photographs).json()
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        event = http.post("/gradio_api/call/v2/predict_batch", json={"files": files}).json()["event_id"]
        with http.stream("GET", f"/gradio_api/call/predict_batch/{event}") as page:
            next(page.iter_lines())
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(30) == 0
            assert time.monotonic() - began < 3
