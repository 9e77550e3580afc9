"""What is not needed is not imported: each of these packages takes a tenth of a second to several seconds."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

IMPORTED = "import sys; print(*(name for name in sys.argv[1:] if name in sys.modules))"
HEAVY = ("gradio", "sklearn", "matplotlib", "scipy", "pandas", "pytorch_grad_cam", "pyarrow")


def imported_by(code, *packages):
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{IMPORTED}", *packages], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()[-1].split()


def test_help_needs_no_network():
    code = "from fashion_model.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert imported_by(code, "torch", "numpy", "PIL", *HEAVY) == []


@pytest.mark.slow
def test_predicting_imports_only_what_it_needs():
    code = (
        "from fashion_model import FashionClassifier\n"
        "FashionClassifier.from_pretrained().predict(['fashion_model/examples/10465.jpg'])"
    )
    assert imported_by(code, "torch", *HEAVY) == ["torch"]
