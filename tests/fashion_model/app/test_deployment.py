"""The app as others run it: behind nginx under a path, and with the files and checks of the container."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from gradio_client import Client, handle_file

from fashion_model.app.handlers import EXAMPLES
from fashion_model.app.routes import MAX_REQUESTS
from tests.conftest import ROOT, free_port, running_app, serving, wait_until
from tests.fashion_model.app.conftest import SHOES
from tests.fashion_model.app.test_api import beginning, post

pytestmark = pytest.mark.slow
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
README = (ROOT / "fashion_model" / "README.md").read_text(encoding="utf-8")
DOCUMENTED = re.search(r"```nginx\n(.*?)```", README, re.DOTALL)[1]


def responds(address):
    try:
        return httpx2.get(address).status_code == 200
    except httpx2.TransportError:
        return False


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
    for path in ("report", f"examples/{next(iter(EXAMPLES))}"):
        assert httpx2.get(f"{proxied}{path}").status_code == 200
    # Bodies that do not arrive stay in nginx.
    with ExitStack() as connections:
        for _ in range(MAX_REQUESTS + 1):
            connections.enter_context(beginning(proxied, "/fashion/predict"))
        assert post(proxied).status_code == 200


def copied(folder):
    """What the Dockerfile copies."""
    folder.mkdir()
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / target)
    return folder


def test_files_of_the_container_are_enough(tmp_path):
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (.*)", DOCKERFILE, re.DOTALL)
    program, *arguments = shlex.split(check.splitlines()[0])
    assert program == "python"
    with running_app(copied(tmp_path / "app")) as address:
        arguments = [argument.replace("http://127.0.0.1:7860", address) for argument in arguments]
        assert subprocess.run([sys.executable, *arguments], check=False).returncode == 0
        assert post(f"{address}/").json()["product_type"]["label"] == "Casual Shoes"
    assert subprocess.run([sys.executable, *arguments], check=False, stderr=subprocess.DEVNULL).returncode != 0
