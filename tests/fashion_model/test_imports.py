"""What is not needed is not imported: each of these packages takes a tenth of a second to several seconds."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from train.__main__ import COMMANDS

IMPORTED = "\nimport sys; print(*(name for name in sys.argv[1:] if name in sys.modules))"
HEAVY = ("gradio", "sklearn", "matplotlib", "scipy", "pandas", "pytorch_grad_cam", "pyarrow", "torch")
HELP = "from fashion_model.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"
PREDICT = """from fashion_model import FashionClassifier
FashionClassifier.from_pretrained().predict(['fashion_model/examples/2250.jpg'])"""


@pytest.mark.parametrize(("code", "needed"), [(HELP, ""), pytest.param(PREDICT, "torch", marks=pytest.mark.slow)])
def test_only_what_is_needed_is_imported(code, needed):
    command = [sys.executable, "-c", code + IMPORTED, *HEAVY]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == needed


def test_only_recipes_import_commands():
    importers, commands = set(), {command.replace(":", ".") for command in COMMANDS.values()}
    for path in (ROOT / "train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module, *(f"{node.module}.{name}" for name in modules)]
            if set(modules) & commands:
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"train/recipes.py"}
