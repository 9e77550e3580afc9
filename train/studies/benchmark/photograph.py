"""One photograph: from the bytes of a file to labels and overlays, beside other networks and other ways."""

from __future__ import annotations

import importlib.util
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from torch import nn
from torchvision.models import efficientnet_v2_s

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.classifier import DETAIL
from fashion_model.images import open_image
from fashion_model.models.engine import THREADS, export_onnx
from fashion_model.models.multitask import MultiTaskClassifier
from train.studies.benchmark.timing import Way, alternate, ratio, table

SMALL, LARGE = (480, 640), (3000, 4000)  # width and height; of a catalogue and of a phone
NOISE = 4  # standard deviation, in levels of 255, as of a camera
EAGER, LABELS, OVERLAYS = "(a) eager forward", "(b) bytes → labels", "(c) bytes → labels, overlays"
LABELS_LARGE = "(b) the same, 12 megapixels"
DECODING, DECODING_LARGE, SCALED = "(h) decoding", "(h) decoding 12 megapixels", "(h) the same, scaled"
ORIGINAL, PACKAGE, FOUR = "(d) the original's way", "(e) grad-cam on the whole network", "(f) four ViT-B/16"
ENGINE = "(g) {}, {} threads"
VIT = "vit_base_patch16_224"


def measure(checkpoint: Checkpoint, classifier: FashionClassifier, file: Path, rounds: int, others: bool) -> str:
    """`others`: also the larger networks (d) and (f), which need a gigabyte of memory and a minute."""
    small, large = (jpeg_of(open_image(file), size) for size in (SMALL, LARGE))
    model = checkpoint.model
    image = torch.rand(1, 3, *model.config.image_size)
    in_engines = engines(classifier, image)
    ways: dict[str, Way] = {
        EAGER: lambda: forward(model.backbone, image),
        LABELS: as_in_the_app(classifier, lambda: classifier.predict([small])),
        LABELS_LARGE: as_in_the_app(classifier, lambda: classifier.predict([large])),
        OVERLAYS: as_in_the_app(classifier, lambda: classifier.predict_and_explain(small)),
        PACKAGE: lambda: maps_of_the_package(model, image),
        **in_engines,
        DECODING: lambda: open_image(small),
        DECODING_LARGE: lambda: open_image(large),
        SCALED: lambda: open_image(large, DETAIL),
    }
    if others:
        ways |= {ORIGINAL: originals_way(list(model.config.num_classes.values())), FOUR: four_networks()}
    times = alternate(ways, rounds)
    sizes = f"JPEG files of 480×640 pixels ({len(small) / 1e6:.1f} MB) and 3000×4000 ({len(large) / 1e6:.1f} MB)"
    return "\n".join([sizes, "", table(times, EAGER), "", *ratios(times, list(in_engines))])


def ratios(times: dict[str, np.ndarray], in_engines: list[str]) -> list[str]:
    eager, decoding = times[EAGER], times[DECODING]
    found = [
        ratio("(b) without decoding / (a)", times[LABELS] - decoding, eager),
        ratio("(c) without decoding / (a)", times[OVERLAYS] - decoding, eager),
        ratio("(e) / (c)", times[PACKAGE], times[OVERLAYS]),
        ratio(
            "12 megapixels: (b) without its network / (h) scaled",
            times[LABELS_LARGE] - times[LABELS] + decoding,
            times[SCALED],
        ),
    ]
    if in_engines:
        best = min((times[name] for name in in_engines), key=np.median)
        found.append(ratio("(b) without decoding / the best of (g)", times[LABELS] - decoding, best))
    if ORIGINAL in times:
        found += [
            ratio("(d) / (c)", times[ORIGINAL], times[OVERLAYS]),
            ratio("(f) / (c)", times[FOUR], times[OVERLAYS]),
        ]
    return found


def as_in_the_app(classifier: FashionClassifier, way: Way) -> Way:
    def with_its_threads() -> None:
        classifier.take_all_cores()
        way()
        torch.set_num_threads(THREADS)

    return with_its_threads


def jpeg_of(photograph: Image.Image, size: tuple[int, int]) -> bytes:
    """The photograph in `size`, with noise: without it an enlarged photograph is decoded too fast."""
    pixels = np.asarray(photograph.resize(size), np.float32)
    noise = np.random.default_rng(0).normal(0, NOISE, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


@torch.inference_mode()
def forward(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> None:
    network(images)


def maps_of_the_package(model: MultiTaskClassifier, image: torch.Tensor) -> None:
    """Grad-CAM for each attribute by the package, as its documentation shows."""
    for name in model.config.num_classes:
        with torch.enable_grad(), GradCAM(_OneAttribute(model, name), [model.backbone]) as cam:
            cam(image, targets=None)  # the predicted class


class _OneAttribute(nn.Module):
    def __init__(self, model: MultiTaskClassifier, name: str):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)[self.name]


def originals_way(classes: list[int]) -> Way:
    """EfficientNetV2-S at 224×224: a forward pass for the labels, another, and one with its backward pass for a map."""
    network = efficientnet_v2_s(weights=None).eval()
    network.classifier = nn.ModuleList(nn.Linear(1280, count) for count in classes)
    images = torch.rand(1, 3, 224, 224)

    def logits() -> list[torch.Tensor]:
        pooled = network.avgpool(network.features(images)).flatten(1)
        return [head(pooled) for head in network.classifier]

    def way() -> None:
        with torch.no_grad():
            logits(), logits()
        with torch.enable_grad():
            logits()[0].max().backward()
        network.zero_grad()

    return way


def four_networks() -> Way:
    """One network run four times costs as much as four: neither fits into a processor's cache."""
    network = timm.create_model(VIT).eval()
    images = torch.rand(1, 3, 224, 224)
    return lambda: [forward(network, images) for _ in range(4)]


def engines(classifier: FashionClassifier, image: torch.Tensor) -> dict[str, Way]:
    """The bare backbone in the engines that are installed, with one thread and with as many as PyTorch has."""
    exported = export_onnx(classifier.backbone, image) if importlib.util.find_spec("onnx") else None
    ways: dict[str, Way] = {}
    for threads in sorted({1, THREADS}) if exported else ():
        if importlib.util.find_spec("onnxruntime"):
            ways[ENGINE.format("ONNX Runtime", threads)] = onnx_runtime(exported, image, threads)
        if importlib.util.find_spec("openvino"):
            ways[ENGINE.format("OpenVINO", threads)] = openvino(exported, image, threads)
    return ways


def onnx_runtime(exported: bytes, image: torch.Tensor, threads: int) -> Way:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": image.numpy()})


def openvino(exported: bytes, image: torch.Tensor, threads: int) -> Way:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "backbone.onnx"
        file.write_bytes(exported)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        request = openvino.Core().compile_model(file, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: image.numpy()}, share_inputs=True)
