"""The checkpoint that the environment names, what app.py says where it cannot be had, and what the page starts with."""

import gradio as gr
import pytest

from app import hub_timeout, load_classifier, main
from fashion_model.app.handlers import EXAMPLES
from fashion_model.app.page import build_page
from fashion_model.hub import DEFAULT_TIMEOUT
from fashion_model.images import open_image
from tests.conftest import ROOT, contents


@pytest.mark.slow
def test_fashion_model_names_the_checkpoint(tiny_checkpoint, monkeypatch, tmp_path, hub):
    assert load_classifier()[0].name == "embedded default"
    monkeypatch.setenv("FASHION_MODEL", str(tiny_checkpoint))
    assert load_classifier()[0].name == tiny_checkpoint.name
    monkeypatch.setenv("FASHION_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json is missing"):
        main()
    commit = hub.add("model", "user/served", contents(tiny_checkpoint)).branches["main"]
    for name in ("user/served@main", f"user/served@{commit}"):
        monkeypatch.setenv("FASHION_MODEL", name)
        classifier, warning = load_classifier()
        assert (classifier.name, warning) == (name, "")


@pytest.mark.parametrize(("kind", "reason"), [("hang", "sent nothing for 1 s"), ("page", "not a Hub"), ("503", "503")])
def test_default_replaces_what_the_hub_fails_to_send(hub, tiny_checkpoint, monkeypatch, kind, reason):
    repository = f"user/failing-{kind}"  # one each: what hung may go on filling the cache afterwards
    hub.add("model", repository, contents(tiny_checkpoint))
    hub.fault("/resolve/.*safetensors" if kind == "hang" else "/revision/", kind)
    monkeypatch.setenv("FASHION_MODEL", f"{repository}@main")
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "1")
    classifier, warning = load_classifier()
    assert classifier.name == "embedded default"
    assert warning.startswith(f"{repository}@main cannot be loaded from the Hub: ")
    assert reason in warning


@pytest.mark.parametrize("warning", ["", "The Hub is away."])
def test_page_shows_a_warning_if_there_is_one(tiny_classifier, warning):
    (shown,) = [c for c in build_page(tiny_classifier, warning).blocks.values() if c.elem_id == "warning"]
    assert (shown.visible, shown.value) == (bool(warning), f"**{warning}**")


def test_timeout_comes_from_the_environment(monkeypatch):
    assert hub_timeout() == DEFAULT_TIMEOUT
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "2.5")
    assert hub_timeout() == 2.5


@pytest.mark.parametrize("seconds", ["soon", "nan", "0", "-1", "inf"])
def test_timeout_has_to_be_a_number(monkeypatch, seconds):
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", seconds)
    with pytest.raises(SystemExit, match="FASHION_MODEL_TIMEOUT has to be a number"):
        main()


def test_space_installs_the_gradio_tested_here():
    assert f"gradio[mcp]=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_examples_are_small_photographs():
    assert [name.startswith("phone-") for name in EXAMPLES] == [True] * 6 + [False] * 6  # those come first
    for example in EXAMPLES.values():
        assert example.path.stat().st_size < 50_000
        assert max(open_image(example.path).size) <= 480
