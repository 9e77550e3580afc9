"""The code that the page shows runs as it is; the JavaScript does in the browser test."""

import json
import subprocess
import sys

import pytest

from fashion_model.app.code import BATCH, EXAMPLE, curl_code, python_code
from tests.conftest import ROOT

SHIRT = ROOT / "fashion_model" / "examples" / "2315.jpg"


@pytest.mark.slow
@pytest.mark.parametrize("name", [EXAMPLE, 'it\'s "new" $HOME.jpg'])
def test_python_and_curl(served, tmp_path, name):
    (tmp_path / name).write_bytes(SHIRT.read_bytes())
    code = python_code(name).replace("ADDRESS", served.rstrip("/"))
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\nTshirts [{'label': 'Tshirts', 'confidence': " in printed.stdout
    command = curl_code(name).replace("ADDRESS", served.rstrip("/"))
    printed = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    document = json.loads(printed.stdout)
    assert document["product_type"]["label"] == "Tshirts"
    assert document["file"].replace("%22", '"') == name  # curl encodes quotes as browsers do


@pytest.mark.slow
def test_python_for_many(served):
    code = BATCH.replace("ADDRESS", served).replace("FILE", repr(str(SHIRT)))
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'2315.jpg'" in printed.stdout
    assert "'Tshirts'" in printed.stdout
