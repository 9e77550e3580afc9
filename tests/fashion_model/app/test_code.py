"""The code that the page shows runs as it is; the JavaScript does in the browser test."""

import json
import subprocess
import sys

import pytest

from fashion_model.app.code import BATCH, EXAMPLE, curl_code, python_code
from tests.conftest import ROOT

SHIRT = ROOT / "fashion_model" / "examples" / "2315.jpg"
pytestmark = pytest.mark.slow


def printed(folder, *command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", [EXAMPLE, 'it\'s "new" $HOME.jpg'])
def test_python_and_curl_run(served, tmp_path, name):
    (tmp_path / name).write_bytes(SHIRT.read_bytes())
    code = python_code(name).replace("ADDRESS", served.rstrip("/"))
    assert "\nTshirts [{'label': 'Tshirts', 'confidence': " in printed(tmp_path, sys.executable, "-c", code)
    command = curl_code(name).replace("ADDRESS", served.rstrip("/"))
    document = json.loads(printed(tmp_path, "bash", "-c", command))
    assert document["product_type"]["label"] == "Tshirts"
    assert document["file"].replace("%22", '"') == name  # curl encodes quotes as browsers do


def test_python_for_many_runs(served, tmp_path):
    code = BATCH.replace("ADDRESS", served).replace("FILE", repr(str(SHIRT)))
    table = printed(tmp_path, sys.executable, "-c", code)
    assert "'2315.jpg'" in table
    assert "'Tshirts'" in table
