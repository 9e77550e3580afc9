"""Each file of the corpus gives the same labels, or the same sentence, to whoever sends it however."""

import asyncio
import base64
import json
import subprocess
import sys

import httpx2
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from fashion_model import FashionClassifier, ImageError
from tests import corpus
from tests.conftest import NAMES, ROOT, serving
from tests.fashion_model.app.test_api import mcp_session

pytestmark = pytest.mark.slow
NOT_READ = {
    "other",
    "bomb-6",
    "bomb-100",
    "bomb-9",
    "bomb-lie",
    "bomb.",
    "empty",
    "zeros",
    "noise",
    "page",
    "drawing",
    "document",
}
NOT_READ |= {"drawing", "document", "program", "script", "header-only", "text-before", "bytes-changed"}
MAX_MB = 1500  # of the process that labels the corpus; PyTorch alone takes 600
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
    paths = []
    for name, content in corpus.corpus().items():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A classifier that predicts at once, and the directory of its checkpoint."""
    from tests.conftest import ATTRIBUTES, discriminating_model, saved_model

    folder = saved_model(discriminating_model(ATTRIBUTES), tmp_path_factory.mktemp("small") / "checkpoint")
    return FashionClassifier.from_pretrained(folder), folder


@pytest.fixture(scope="module")
def expected(small, files):
    """What the library says of each file: its confidence by attribute and label, or a sentence."""
    found = {}
    for path, result in small[0].stream(files):
        found[path.name] = str(result) if isinstance(result, ImageError) else labels_of(result)
    return found


def labels_of(prediction):
    return {(name, prediction[name].label): prediction[name].confidence for name in NAMES}


def check(name, found, expected):
    """`found`: as `expected`."""
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected, name
    else:
        assert found.keys() == expected.keys(), name
        assert found == pytest.approx(expected, abs=1e-4), name


def of_document(document):
    return {(name, document[name]["label"]): document[name]["confidence"] for name in NAMES}


def test_what_is_read_and_what_is_not(expected):
    assert len(expected) > 100
    sentences = {name for name, found in expected.items() if isinstance(found, str)}
    for name in expected:
        assert (name in sentences) == name.startswith((*NOT_READ, "cut-", "mode-TIFF-YCbCr")), (name, expected[name])
    for name in sentences:
        assert expected[name].startswith(("The file ", "The image ")), name
        assert expected[name].endswith("."), name
    for name in corpus.NAMES:
        check(name, expected[name], expected["text-after.jpg"])


def test_on_the_command_line(small, files, expected, tmp_path):
    output = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", COMMAND, "predict", "--checkpoint", small[1], "--output", output, "--", *files]
    done = subprocess.run(command, cwd=ROOT, timeout=300, capture_output=True, text=True, check=True)
    assert int(done.stdout) < MAX_MB * 1024
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for path, row in zip(files, rows, strict=True):
        found = row["error"] or {(name, row[name]): row[f"{name}_confidence"] for name in NAMES}
        check(path.name, found, expected[path.name])


def test_with_gradio_client_plain_http_and_mcp(small, files, expected):
    async def ask(address):
        async with mcp_session(address) as session:
            return [await session.call_tool("classify_photograph", {"photo": data_url(path)}) for path in files]

    with serving(small[0]) as address:
        client = Client(address, verbose=False)
        with httpx2.Client(base_url=address, timeout=60) as http:
            for path in files:
                check(path.name, with_client(client, path), expected[path.name])
                answer = http.post("/predict", files={"file": (path.name, path.read_bytes())}).json()
                check(path.name, answer.get("error") or of_document(answer), expected[path.name])
        for path, answer in zip(files, asyncio.run(ask(address)), strict=True):
            text = answer.content[0].text
            if answer.isError:
                assert expected[path.name] in text, (path.name, text)
            else:
                check(path.name, of_document(json.loads(text)), expected[path.name])


def with_client(client, path):
    try:
        return of_document(json.loads(client.predict(handle_file(path), api_name="/classify")))
    except AppError as error:
        return str(error)


def data_url(path):
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
