"""The checkpoint that the environment asks for, and what app.py says of one that it cannot have."""

import pytest

from app import main
from fashion_model.app.loading import Models, hub_timeout, load_models
from fashion_model.app.page import build_demo
from fashion_model.checkpoint import CheckpointError
from fashion_model.hub import DEFAULT_TIMEOUT
from tests.conftest import NAMES, contents


@pytest.mark.slow
def test_fashion_model_names_the_checkpoint_to_serve(tiny_checkpoint, monkeypatch, tmp_path, hub):
    assert load_models()[0].first.name == "embedded default"
    monkeypatch.setenv("FASHION_MODEL", str(tiny_checkpoint))
    assert load_models()[0].first.name == tiny_checkpoint.name
    monkeypatch.setenv("FASHION_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json is missing"):
        main()
    commit = hub.add("model", "user/served", contents(tiny_checkpoint)).branches["main"]
    for name in ("user/served@main", f"user/served@{commit}"):
        monkeypatch.setenv("FASHION_MODEL", name)
        models, warning = load_models()
        assert (models.first.name, warning) == (name, "")


@pytest.mark.parametrize(("kind", "reason"), [("hang", "sent nothing for 1 s"), ("page", "not a Hub"), ("503", "503")])
def test_where_the_hub_fails_the_embedded_default_serves_and_says_why(hub, tiny_checkpoint, monkeypatch, kind, reason):
    repository = f"user/failing-{kind}"  # one each: what hung may go on filling the cache afterwards
    hub.add("model", repository, contents(tiny_checkpoint))
    hub.fault("/resolve/.*safetensors" if kind == "hang" else "/revision/", kind)
    monkeypatch.setenv("FASHION_MODEL", f"{repository}@main")
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "1")
    models, warning = load_models()
    assert models.first.name == "embedded default"
    assert warning.startswith(f"{repository}@main cannot be loaded from the Hub: ")
    assert reason in warning
    texts = [c.value for c in build_demo(models, warning).blocks.values() if c.elem_id == "warning" and c.visible]
    assert texts == [f"**{warning}**"]


def test_the_timeout_is_that_of_the_environment(monkeypatch):
    assert hub_timeout() == DEFAULT_TIMEOUT
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", "2.5")
    assert hub_timeout() == 2.5


@pytest.mark.parametrize("seconds", ["soon", "nan", "0", "-1", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_an_error(monkeypatch, seconds):
    monkeypatch.setenv("FASHION_MODEL_TIMEOUT", seconds)
    with pytest.raises(SystemExit, match="FASHION_MODEL_TIMEOUT has to be a number"):
        main()


def test_several_names_are_served_each_loaded_when_asked_for(tiny_checkpoint, usage_checkpoint, monkeypatch):
    monkeypatch.setenv("FASHION_MODEL", f"{tiny_checkpoint}, {usage_checkpoint},")
    models, warning = load_models()
    assert (models.names, warning) == ((tiny_checkpoint.name, str(usage_checkpoint)), "")
    second = models.get(str(usage_checkpoint))
    assert [a.name for a in second.attributes] == [*NAMES, "usage"]
    assert models.get(str(usage_checkpoint)) is second
    assert models.get() is models.get(tiny_checkpoint.name) is models.first
    with pytest.raises(CheckpointError, match="'other' is not served here"):
        models.get("other")


def test_the_page_has_a_picker_where_there_is_a_choice(tiny_classifier):
    for sources, visible in (([], False), (["tiny", "user/second"], True)):
        demo = build_demo(Models(sources, tiny_classifier))
        (picker,) = [c for c in demo.blocks.values() if c.elem_id == "model"]
        assert picker.visible is visible
        assert [value for _, value in picker.choices] == ["tiny", *sources[1:]]
