import gradio as gr

from fashion_model.app.examples import EXAMPLES
from fashion_model.app.loading import Models
from fashion_model.app.page import build_demo
from fashion_model.images import open_image
from tests.conftest import ROOT


def test_without_a_warning_there_is_none_on_the_page(tiny_classifier):
    (warning,) = [c for c in build_demo(Models([], tiny_classifier)).blocks.values() if c.elem_id == "warning"]
    assert not warning.visible


def test_the_space_installs_the_gradio_that_is_tested_here():
    assert f"gradio[mcp]=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_examples_are_small_photographs_in_the_repository():
    assert len(EXAMPLES) == 12
    assert [name.startswith("phone-") for name in EXAMPLES] == [True] * 6 + [False] * 6  # those come first
    for name, example in EXAMPLES.items():
        assert example.path == ROOT / "fashion_model" / "examples" / name
        assert example.path.stat().st_size < 50_000
        assert max(open_image(example.path).size) <= 480
