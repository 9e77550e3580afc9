"""Each file of the corpus gives the same labels, or the same sentence, to whoever sends it however."""

import json
import subprocess
import sys

import httpx2
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from fashion_model import ImageError
from tests import corpus
from tests.conftest import NAMES, ROOT
from tests.fashion_model.app.test_api import ask_mcp, data_url

pytestmark = pytest.mark.slow
NOT_READ = (
    *("other", "bomb-6", "bomb-100", "bomb-9", "bomb-lie", "bomb.", "empty", "zeros", "noise", "page", "drawing"),
    *("document", "program", "script", "header-only", "text-before", "bytes-changed", "cut-", "mode-TIFF-YCbCr"),
)
MAX_MB = 1800  # of the process that labels the corpus; for one photograph it takes 1,060, with PyTorch and ONNX Runtime
COMMAND = """
import re, sys
from pathlib import Path
from fashion_model.__main__ import main
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The paths of the corpus, in order."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, content in corpus.corpus().items():
        (folder / name).write_bytes(content)
    return [folder / name for name in corpus.corpus()]


@pytest.fixture(scope="module")
def expected(classifier, files):
    """What the library says of each file: its confidence by attribute and label, or a sentence."""
    return {
        path.name: str(result) if isinstance(result, ImageError) else labels_of(result.to_document())
        for path, result in classifier.stream(files)
    }


def labels_of(document):
    return {(name, document[name]["label"]): document[name]["confidence"] for name in NAMES}


def check(name, given, expected):
    assert given == (expected if isinstance(expected, str) else pytest.approx(expected, abs=2e-4)), name


def test_only_photographs_are_read(expected):
    assert len(expected) > 100
    for name, given in expected.items():
        assert isinstance(given, str) == name.startswith(NOT_READ), (name, given)
        if isinstance(given, str):
            assert given.startswith(("The file ", "The image ")), name
            assert given.endswith("."), name
    for name in corpus.NAMES:
        check(name, expected[name], expected["text-after.jpg"])


def test_command_line_gives_the_same(files, expected, tmp_path):
    output = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", COMMAND, "predict", "--output", output, "--", *files]
    done = subprocess.run(command, cwd=ROOT, timeout=300, capture_output=True, text=True, check=True)
    assert int(done.stdout) < MAX_MB * 1024
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for path, row in zip(files, rows, strict=True):
        given = row["error"] or {(name, row[name]): row[f"{name}_confidence"] for name in NAMES}
        check(path.name, given, expected[path.name])


def through_gradio_client(client, files):
    for path in files:
        try:
            yield labels_of(json.loads(client.predict(handle_file(path), api_name="/classify")))
        except AppError as error:
            yield str(error)


def through_post(client, files):
    with httpx2.Client(base_url=client.src, timeout=60) as http:
        for path in files:
            response = http.post("/predict", files={"file": (path.name, path.read_bytes())})
            yield labels_of(response.json()) if response.status_code == 200 else response.json()["error"]


def through_mcp(client, files):
    calls = [("classify_photograph", {"photo": data_url(path.read_bytes())}) for path in files]
    *_, results = ask_mcp(client.src, *calls)
    for result in results:
        text = result.content[0].text
        yield text if result.isError else labels_of(json.loads(text))


@pytest.mark.parametrize("through", [through_gradio_client, through_post, through_mcp])
def test_app_gives_the_same(client, files, expected, through):
    for path, given in zip(files, through(client, files), strict=True):
        check(path.name, given, expected[path.name])
