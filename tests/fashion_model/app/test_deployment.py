"""The app as others run it: behind a reverse proxy under a path, and with the files and checks of the container."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from gradio_client import Client, handle_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from fashion_model.app.examples import EXAMPLES
from tests.conftest import ROOT, free_port, running_app, serving, wait_until

pytestmark = pytest.mark.slow

EXAMPLE = next(iter(EXAMPLES.values())).path
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@contextmanager
def reverse_proxy(target, prefix):
    """The address of a proxy that does what the nginx configuration in fashion_model/README.md says."""
    upstream = httpx2.AsyncClient(base_url=target, timeout=None)
    port = free_port()

    async def forward(request: Request):
        headers = [(name, value) for name, value in request.headers.items() if name != "x-forwarded-proto"]
        path = request.url.path.removeprefix(prefix)
        sent = upstream.build_request(
            request.method,
            f"{path}?{request.url.query}",
            headers=[*headers, ("x-forwarded-proto", "http")],
            content=request.stream(),
        )
        answer = await upstream.send(sent, stream=True)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, answer.headers)

    app = Starlette(routes=[Route(f"{prefix}/{{path:path}}", forward, methods=["GET", "HEAD", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{port}{prefix}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def below_a_path(classifier, monkeypatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/fashion")
    with serving(classifier) as address, reverse_proxy(address, "/fashion") as proxied:
        yield proxied


def test_behind_a_reverse_proxy_under_a_path(below_a_path, classifier):
    page = httpx2.get(below_a_path)
    assert page.status_code == 200
    assert not re.findall(r'(?:src|href)="(/(?!fashion/|manifest.json)[^"]*)"', page.text)
    client = Client(below_a_path, verbose=False)
    *answers, overlay, _, _ = client.predict(handle_file(EXAMPLE), api_name="/predict")
    prediction = classifier.predict([EXAMPLE])[0]
    assert [answer["label"] for answer in answers] == [p.label for p in prediction.attributes.values()]
    assert os.path.getsize(overlay) > 1000  # noqa: PTH202 (the client gives text)
    document = httpx2.post(f"{below_a_path}predict", files={"file": ("shoe.jpg", EXAMPLE.read_bytes())}).json()
    assert document["overlay"].startswith(f"{below_a_path}gradio_api/file=")
    assert httpx2.get(document["overlay"]).headers["content-type"] == "image/jpeg"
    for path in ("report", f"examples/{next(iter(EXAMPLES))}"):
        assert httpx2.get(f"{below_a_path}{path}").status_code == 200


def test_the_documented_nginx_configuration_is_accepted_and_does_the_same(classifier, monkeypatch, tmp_path):
    nginx = shutil.which("nginx")
    if not nginx:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    (location,) = re.findall(
        r"```nginx\n(.*?)```", (ROOT / "fashion_model/README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    port = free_port()
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/fashion")
    with serving(classifier) as address:
        location = location.replace("http://127.0.0.1:7860/", address)
        (tmp_path / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''} daemon off; pid {tmp_path}/pid;\n"
            f"error_log {tmp_path}/log; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;\n"
            f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
            f"server {{ listen 127.0.0.1:{port};\n{location}\n}} }}"
        )
        with subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]) as process:
            try:
                proxied = f"http://127.0.0.1:{port}/fashion/"
                wait_until(lambda: responds(proxied))
                client = Client(proxied, verbose=False)
                answer = client.predict(handle_file(EXAMPLE), api_name="/predict")[1]
                assert answer["label"] == classifier.predict([EXAMPLE])[0].product_type.label
            finally:
                process.terminate()


def responds(address):
    try:
        return httpx2.get(address).status_code == 200
    except httpx2.TransportError:
        return False


def copied(folder):
    """What the Dockerfile copies."""
    folder.mkdir()
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / target)
    return folder


def test_the_files_of_the_container_are_enough_and_its_health_check_holds(tmp_path):
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (.*)", DOCKERFILE, re.DOTALL)
    program, *arguments = shlex.split(check.splitlines()[0])
    assert program == "python"
    with running_app(copied(tmp_path / "app")) as address:
        arguments = [argument.replace("http://127.0.0.1:7860", address) for argument in arguments]
        assert subprocess.run([sys.executable, *arguments], check=False).returncode == 0
        answer = httpx2.post(f"{address}/predict", files={"file": ("shoe.jpg", EXAMPLE.read_bytes())}, timeout=60)
        assert answer.json()["product_type"]["label"] == "Casual Shoes"
    assert subprocess.run([sys.executable, *arguments], check=False, stderr=subprocess.DEVNULL).returncode != 0
