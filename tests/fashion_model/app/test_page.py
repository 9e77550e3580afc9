from dataclasses import replace

import gradio as gr

from fashion_model import FashionClassifier
from fashion_model.app.page import build_demo
from fashion_model.checkpoint import load_checkpoint
from tests.conftest import ROOT


def tabs(classifier):
    return [c.label for c in build_demo(classifier).blocks.values() if isinstance(c, gr.Tab)]


def test_the_endpoints_that_others_call_are_there_and_no_others(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/predict", "/predict_batch"]
    assert [p["parameter_name"] for p in endpoints["/predict"]["parameters"]] == ["photo", "attribute", "opacity"]
    assert [p["parameter_name"] for p in endpoints["/predict_batch"]["parameters"]] == ["files"]


def test_without_a_warning_there_is_none_on_the_page(tiny_classifier):
    (warning,) = [c for c in build_demo(tiny_classifier).blocks.values() if c.elem_id == "warning"]
    assert not warning.visible


def test_without_a_report_there_is_no_place_for_one(tiny_checkpoint, tmp_path):
    checkpoint = load_checkpoint(tiny_checkpoint)
    assert tabs(FashionClassifier(checkpoint)) == ["One photograph", "Many photographs"]
    with_report = replace(checkpoint, report=tmp_path / "report.html")
    assert tabs(FashionClassifier(with_report)) == ["One photograph", "Many photographs", "Report"]


def test_the_space_installs_the_gradio_that_is_tested_here():
    assert f"gradio=={gr.__version__}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"sdk_version: {gr.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
