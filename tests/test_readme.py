"""What the README tells people to type works."""

import hashlib
import re
import subprocess
import sys

import pytest

from data_prep.__main__ import COMMANDS as DATA_COMMANDS
from tests.conftest import ROOT
from train.__main__ import COMMANDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *(f"{room}/README.md" for room in ("fashion_model", "data_prep", "train"))]


def snippet(containing, page="README.md"):
    """The only block of Python in a page with this text."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [text for text in blocks if containing in text]
    return block


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, text=True, timeout=120, capture_output=True, check=True).stdout


def test_python_snippet_runs():
    assert "Handbags" in run(snippet("FashionClassifier.from_pretrained()"))
    (ROOT / "overlay.png").unlink()


@pytest.mark.slow
def test_client_snippets_run_against_the_app(served):
    for page, expected in (("README.md", "Handbags"), ("fashion_model/README.md", "2650.jpg")):
        code = snippet("gradio_client", page)
        assert "http://127.0.0.1:7860" in code
        assert expected in run(code.replace("http://127.0.0.1:7860", served.rstrip("/")))


@pytest.mark.slow
def test_command_line_snippet_runs(tmp_path):
    (command,) = re.findall(r"(?m)^\.venv.* fashion_model predict .*$", README)
    arguments = command.removeprefix(".venv/bin/python ").split()
    arguments[arguments.index("--output") + 1] = str(tmp_path / "results.csv")
    arguments[arguments.index("--heatmaps") + 1] = str(tmp_path / "heatmaps")
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, timeout=120)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 12
    overlays = {path.name for path in (tmp_path / "heatmaps").iterdir()}
    assert len(overlays) == 44
    file = "fashion_model/examples/2650.jpg"
    library = (ROOT / "fashion_model" / "README.md").read_text(encoding="utf-8")
    (formula,) = re.findall(r"`(hashlib\.\S+\(file\.encode.*?)`", library)
    assert f"2650.jpg.{eval(formula, {'hashlib': hashlib, 'file': file})}.color.png" in overlays


def test_commands_of_the_documentation_exist():
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"python -m data_prep ([a-z][a-z-]+)", text)) == set(DATA_COMMANDS)
    commands = set(re.findall(r"python -m train ([a-z][a-z-]+)", text))
    assert {"recipe", "fit", "calibrate", "evaluate", "report", "push-to-hub"} <= commands <= set(COMMANDS)
    assert set(re.findall(r"python -m fashion_model ([a-z]+)", text)) == {"predict"}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_documentation_exist(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in local), local


def test_front_matter_makes_a_space():
    front = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL).group(1)
    fields = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert fields["sdk"] == "gradio"
    assert (ROOT / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    assert fields["colorFrom"] in {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_every_promise_names_tests_that_exist():
    promised = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(promised) > 10
    assert {name for name in promised if f"def {name}(" not in tests} == set()
