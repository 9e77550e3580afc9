"""What the README tells people to type works."""

import hashlib
import os
import re
import runpy
import subprocess
import sys

import pytest
from gradio_client import Client

from tests.conftest import ROOT, running_app

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def snippet(language, containing):
    (found,) = [block for block in blocks(language) if containing in block]
    return found


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        timeout=120,
        capture_output=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def started_app():
    """`python app.py` as the README starts it."""
    with running_app(ROOT) as address:
        yield address


def test_the_python_snippet_runs():
    output = run(snippet("python", "FashionClassifier.from_pretrained()"))
    assert "Handbags" in output
    (ROOT / "overlay.png").unlink()


def test_the_client_snippet_runs_against_python_app_py(started_app):
    code = snippet("python", "gradio_client")
    assert "http://127.0.0.1:7860" in code
    output = run(code.replace("http://127.0.0.1:7860", started_app))
    assert "Handbags" in output
    assert "['2650.jpg', 'Brown'," in output
    assert "Handbags, Brown · " in output


def test_python_app_py_says_which_checkpoint_it_serves(started_app):
    config = Client(started_app, verbose=False).config
    texts = [c["props"]["value"] for c in config["components"] if c["type"] == "markdown"]
    assert any("embedded default" in text for text in texts)


def test_the_command_line_snippet_runs(tmp_path):
    (command,) = [line for block in blocks("bash") for line in block.splitlines() if "fashion_model predict" in line]
    assert command.startswith(".venv/bin/python -m fashion_model predict ")
    arguments = command.split()[1:]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "results.csv")
    arguments[arguments.index("--heatmaps") + 1] = str(tmp_path / "heatmaps")
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, timeout=120)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 13
    overlays = {path.name for path in (tmp_path / "heatmaps").iterdir()}
    assert len(overlays) == 48
    file = "fashion_model/examples/2650.jpg"
    (formula,) = re.findall(r"`(hashlib\.\S+\(file\.encode.*?)`", README)
    assert f"2650.jpg.{eval(formula, {'hashlib': hashlib, 'file': file})}.color.png" in overlays


def test_the_continuous_integration_runs_the_test_command_of_the_readme():
    (command,) = [line for block in blocks("bash") for line in block.splitlines() if line.endswith("-m pytest")]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_every_command_of_this_project_in_the_readme_exists(monkeypatch, capsys):
    commands = re.findall(r"python -m ((?:data_prep\.\w+)|(?:(?:train|fashion_model) \w+))", README)
    assert {"data_prep.clean_data", "data_prep.class_distribution", "train fit", "train evaluate"} <= set(commands)
    for command in sorted(set(commands)):
        module, *rest = command.split()
        monkeypatch.setattr(sys, "argv", [module, *rest, "--help"])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_module(module, run_name="__main__")
        assert f"usage: python -m {command}" in capsys.readouterr().out


def test_the_front_matter_makes_a_space():
    front = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL).group(1)
    fields = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert fields["sdk"] == "gradio"
    assert (ROOT / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    assert fields["colorFrom"] in {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_the_pictures_of_the_readme_are_there():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
