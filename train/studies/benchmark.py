"""Measure speed and memory on this machine, each way of doing something beside its alternatives in the same run.

    python -m train benchmark --photographs data/phone/images --data data/

- photograph: from a file to labels, overlays and products, beside the eager network;
- catalogue: a folder of photographs, beside the bare network; and whether memory grows with their number;
- load: clients at once, through the library and through `POST /predict`.

The ways strictly alternate; shown is the median of the rounds, in brackets the 10th and the 90th percentile.
"""

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any, Literal, get_args

import httpx2
import numpy as np
import pandas as pd
import torch
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.attributes import PRODUCT_TYPE
from fashion_model.batch import write_overlays
from fashion_model.checkpoint import load_checkpoint
from fashion_model.classifier import BATCH_SIZE, DETAIL
from fashion_model.images import find_images, open_image
from fashion_model.models.engine import THREADS
from train.data.domains import WORN
from train.evaluate.tables import markdown_table

Part = Literal["photograph", "catalogue", "load"]
OVERLAYS, REQUESTS = 16, 96  # photographs, requests of each number of clients
PRODUCTS = 5  # in the photograph of people


@dataclass(frozen=True)
class Config:
    photographs: Path  # a folder of images
    checkpoint: str | None = None  # a directory or user/repo; the embedded default
    data: Path | None = None  # the folder that data_prep wrote; without it finding is not measured
    parts: tuple[Part, ...] = get_args(Part)
    count: int = 256  # photographs of the catalogue
    rounds: int = 10
    clients: tuple[int, ...] = (1, 4, 16, 64)  # at once


def run(config: Config) -> None:
    benchmark = Benchmark(config)
    for part in config.parts:
        print("\n\n".join([f"## {part}", *getattr(benchmark, part)()]), end="\n\n", flush=True)


class Benchmark:
    """Each part is a method that yields paragraphs of Markdown."""

    def __init__(self, config: Config):
        self.config, self.files = config, list(islice(find_images([config.photographs]), config.count))
        if not self.files:
            raise ValueError(f"no image in {config.photographs}")
        self.checkpoint = load_checkpoint(config.checkpoint)
        self.classifier = FashionClassifier(self.checkpoint, "cpu")
        self.classifier.predict(self.files)  # fails if one cannot be read
        self.batch = torch.rand(BATCH_SIZE, 3, *self.checkpoint.config.image_size)

    def photograph(self) -> Iterator[str]:
        small, large = (noisy_jpeg(open_image(self.files[0]), size) for size in ((480, 640), (3000, 4000)))
        decoded, image, model = open_image(small), self.batch[:1], self.checkpoint.model
        classifier, cores = self.classifier, self.classifier.take_all_cores
        ways = {
            "(a) eager forward": lambda: forward(model, image),
            "(b) decoded photograph → labels": lambda: (cores(), classifier.predict([decoded])),
            "(c) … → labels, overlays": lambda: (cores(), classifier.predict_and_explain(decoded)),
            "(d) bare network as served": lambda: forward(classifier.backbone, image),
            f"(e) decoding 480×640, {len(small) / 1e6:.1f} MB": lambda: open_image(small),
            f"(e) decoding 12 megapixels, {len(large) / 1e6:.1f} MB, scaled": lambda: open_image(large, DETAIL),
        }
        if classifier.finder and self.config.data:
            street = find_images([self.config.data / WORN / "photographs"])
            several = next(file for file in street if len(classifier.find(file)) == PRODUCTS)
            ways[f"(f) photograph of people → {PRODUCTS} products"] = lambda: (cores(), classifier.find(several))
        yield table(alternate(ways, self.config.rounds))

    def catalogue(self) -> Iterator[str]:
        network, cores, part = self.classifier.backbone, self.classifier.take_all_cores, self.files[:OVERLAYS]
        ways = {
            "bare network": lambda: [forward(network, self.batch) for _ in self.files[::BATCH_SIZE]],
            "photographs → labels": lambda: (cores(), list(self.classifier.stream(self.files))),
        }
        yield table(alternate(ways, self.config.rounds), len(self.files))
        with tempfile.TemporaryDirectory() as folder:
            ways = {"→ overlays": lambda: (cores(), list(write_overlays(self.classifier, part, Path(folder), "")))}
            yield table(alternate(ways, self.config.rounds), len(part))
        yield "\n".join(peak_memory(self.config, number) for number in (self.config.count, 8 * self.config.count))

    def load(self) -> Iterator[str]:
        photographs, rows = [file.read_bytes() for file in self.files], []
        self.classifier.take_all_cores()
        with app(self.config.checkpoint) as http:
            ways = {
                "library, labels": lambda p: self.classifier.predict([p]),
                "library, with overlay": lambda p: self.classifier.explain(p, PRODUCT_TYPE).save(io.BytesIO(), "JPEG"),
                "POST /predict": lambda p: http.post("/predict", files={"file": p}).raise_for_status(),
            }
            for clients in self.config.clients:
                for name, way in ways.items():
                    speed, seconds = requests(way, photographs, clients, REQUESTS)
                    waits = (f"{ms:.0f}" for ms in np.percentile(1000 * seconds, (50, 95)))
                    rows.append((name, str(clients), f"{speed:.1f}", *waits))
            columns = ("through", "clients", "photographs/s", "p50, ms", "p95, ms")
            yield markdown_table(pd.DataFrame(rows, columns=columns))


def seconds_of(way: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    way(*arguments)
    return time.perf_counter() - start


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """The seconds of each way in `rounds` rounds, the ways strictly one after the other, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            torch.set_num_threads(THREADS)
            seconds[name].append(seconds_of(way))
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def spread(values: np.ndarray, digits: int) -> str:
    """The median, with the 10th and 90th percentile in brackets."""
    return "{1:.{d}f} ({0:.{d}f}–{2:.{d}f})".format(*np.percentile(values, (10, 50, 90)), d=digits)


def table(times: Mapping[str, np.ndarray], images: int = 1) -> str:
    """Markdown: the seconds of each round → milliseconds an image, images a second, times the first way's seconds."""
    first, *_ = times.values()
    rows = [(name, *map(spread, (1000 * t / images, images / t, t / first), (1, 1, 2))) for name, t in times.items()]
    columns = ("median (10–90 %)", "ms", "images/s", "times the first")
    return markdown_table(pd.DataFrame(rows, columns=columns))


@torch.inference_mode()
def forward(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> None:
    network(images)


def noisy_jpeg(image: Image.Image, size: tuple[int, int]) -> bytes:
    """The image in `size`, with a camera's noise: without it an enlarged image is decoded too fast."""
    file, noise = io.BytesIO(), Image.effect_noise(size, 64).convert("RGB")
    Image.blend(image.resize(size), noise, 1 / 16).save(file, "JPEG", quality=90)
    return file.getvalue()


def peak_memory(config: Config, number: int) -> str:
    """The peak of the memory of a process that labels `number` photographs by the command line, as a sentence."""
    import resource  # not on Windows

    files = list(islice(find_images([config.photographs]), number))
    options = [*(["--checkpoint", config.checkpoint] if config.checkpoint else []), "--", *files]
    subprocess.run([sys.executable, "-m", "fashion_model", "predict", *options], stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB on Linux
    return f"{len(files):,} photographs: at most {peak // 1024:,} MiB of memory"


@contextmanager
def app(checkpoint: str | None) -> Iterator[httpx2.Client]:
    """A client of `app.py`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = os.environ | {"FASHION_MODEL": checkpoint or "", "GRADIO_SERVER_PORT": port}
    root, address = Path(__file__).parents[2], f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "app.py"], cwd=root, env=environment, stdout=-3) as process:
        try:
            with httpx2.Client(base_url=address, timeout=120, transport=httpx2.HTTPTransport(retries=9)) as http:
                http.get("/").raise_for_status()  # tried for two minutes
                yield http
        finally:
            process.terminate()


def requests(work: Callable, photographs: list[bytes], clients: int, number: int) -> tuple[float, np.ndarray]:
    """Photographs a second, and the seconds of each request, of `clients` that ask one thing after the other."""
    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        seconds = list(pool.map(seconds_of, repeat(work, number), islice(cycle(photographs), number)))
        return number / (time.perf_counter() - start), np.array(seconds)
