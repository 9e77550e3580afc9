"""What is not needed is not imported: each of these packages takes a tenth of a second to several seconds."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

IMPORTED = "\nimport sys; print(*(name for name in sys.argv[1:] if name in sys.modules))"
HEAVY = ("gradio", "sklearn", "matplotlib", "scipy", "pandas", "pytorch_grad_cam", "pyarrow", "torch")
HELP = "from fashion_model.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"
PREDICT = """from fashion_model import FashionClassifier
FashionClassifier.from_pretrained().predict(['fashion_model/examples/10465.jpg'])"""


@pytest.mark.parametrize(("code", "needed"), [(HELP, ""), pytest.param(PREDICT, "torch", marks=pytest.mark.slow)])
def test_only_what_is_needed_is_imported(code, needed):
    command = [sys.executable, "-c", code + IMPORTED, *HEAVY]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == needed
