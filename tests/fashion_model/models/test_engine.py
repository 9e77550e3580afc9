import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.explain import explain
from fashion_model.models.engine import onnx_engine
from tests.conftest import ATTRIBUTES, encoders_of, random_model

SIZE = (64, 48)


def example(count):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext", "mobilenetv3_small_050"])
def test_maps_with_the_engine_are_the_same(name, capfd):
    model = random_model(name, image_size=SIZE).requires_grad_(False)
    served = FashionClassifier(Checkpoint(model, encoders_of(ATTRIBUTES), "tiny")).model
    runs, run = [], served.backbone.engine
    served.backbone.engine = lambda images: runs.append(len(images)) or run(images)
    targets = [("color", 1), ("gender", 2)]
    for layer in (-1, 1):
        expected, explained = (explain(each, example(1), targets, "gradcam", [layer]) for each in (model, served))
        assert np.abs(explained.maps - expected.maps).mean() < 0.01
        torch.testing.assert_close(explained.pooled, expected.pooled, atol=1e-4, rtol=1e-3)
    assert runs == [1]  # an earlier layer needs gradients in the backbone
    torch.testing.assert_close(served.backbone(example(3)), model.backbone(example(3)), atol=1e-4, rtol=1e-3)
    assert (runs, capfd.readouterr().err) == ([1, 3], "")


class Network(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.forward = compute


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda images: images + 1, None),
        (torch.special.bessel_j0, "bessel"),  # not in ONNX
        (lambda images: images * len(images), "its outputs differ"),  # exported as a constant
    ],
)
def test_only_an_equal_network_is_used(capfd, compute, reason):
    run, printed = onnx_engine(Network(compute), example(2)), capfd.readouterr().err
    assert (run is None) is bool(reason)
    assert printed.startswith("ONNX Runtime is not used") is bool(reason)
    assert (reason or "") in printed


def test_engine_that_fails_in_two_threads_is_replaced(monkeypatch, capfd):
    run, both = onnx_engine(Network(lambda images: images + 1), example(2)), Barrier(2)

    def fail(*_):
        both.wait()
        raise RuntimeError("odd")

    monkeypatch.setattr("onnxruntime.InferenceSession.run", fail)
    with ThreadPoolExecutor(2) as pool:
        for images in pool.map(run, [example(1)] * 2):
            assert torch.equal(images, example(1) + 1)
    assert "PyTorch takes its place: odd" in capfd.readouterr().err
    assert torch.equal(run(example(1)), example(1) + 1)
    assert capfd.readouterr().err == ""


def test_damaged_engine_is_one_line(monkeypatch, tmp_path, capfd):
    (tmp_path / "onnxruntime.py").write_text("raise SystemError('odd')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert FashionClassifier.from_pretrained().backbone.engine is None
    assert capfd.readouterr().err == "ONNX Runtime is not used, PyTorch takes its place: odd\n"
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))  # a stub
    assert onnx_engine(Network(lambda images: images + 1), example(2)) is None
