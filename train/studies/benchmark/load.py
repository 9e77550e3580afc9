"""Clients at once: photographs a second through the page's `POST /predict`, and how long each client waits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx2
import numpy as np
import torch

from fashion_model import FashionClassifier
from fashion_model.classifier import BATCH_SIZE
from train.evaluate.tables import markdown_table
from train.studies.benchmark.catalogue import memory_of
from train.studies.benchmark.photograph import forward

ROOT = Path(__file__).parents[3]
REQUESTS = 96  # of each number of clients
START, WAIT = 120, 120  # seconds at most


def measure(
    classifier: FashionClassifier, checkpoint: str | None, files: list[Path], clients: Sequence[int], requests: int
) -> str:
    classifier.take_all_cores()
    photographs = [file.read_bytes() for file in files]
    rows = []
    with serving(checkpoint) as (address, process):

        def post(photograph: bytes) -> None:
            answer = httpx2.post(f"{address}/predict", files={"file": ("photograph.jpg", photograph)}, timeout=WAIT)
            answer.raise_for_status()

        for count in clients:
            bare = bare_speed(classifier)
            rows.append(_row("library", count, *timed(lambda p: classifier.predict([p]), photographs, count), bare))
            rows.append(_row("page", count, *timed(post, photographs, count), bare))
        before = memory_of(process)
        timed(post, photographs, max(clients), requests)
        after = memory_of(process)
    columns = ("through", "clients", "photographs/s", "p50, ms", "p95, ms", "times the bare network")
    return (
        f"{markdown_table(columns, rows)}\n\n"
        f"The served process holds {before:,} MiB, after {requests:,} more requests {after:,} MiB."
    )


@contextmanager
def serving(checkpoint: str | None) -> Iterator[tuple[str, int]]:
    """Address and process id of `app.py`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"FASHION_MODEL": checkpoint or "", "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + START
        while not _answers(address):
            if app.poll() is not None or time.monotonic() > end:
                raise ValueError("the app did not start")
            time.sleep(0.1)
        yield address, app.pid
    finally:
        app.terminate()
        app.wait()


def _answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/gradio_api/info", timeout=WAIT).status_code == 200
    except httpx2.TransportError:
        return False


def timed(work, photographs: Sequence[bytes], clients: int, requests: int = REQUESTS) -> tuple[float, np.ndarray]:
    """Photographs a second, and the seconds of each request, of `clients` that ask one thing after the other."""

    def once(photograph: bytes) -> float:
        start = time.perf_counter()
        work(photograph)
        return time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        seconds = list(pool.map(once, islice(cycle(photographs), requests)))
        return requests / (time.perf_counter() - start), np.array(seconds)


def bare_speed(classifier: FashionClassifier) -> float:
    """Images a second of the network alone, in batches."""
    images = torch.rand(BATCH_SIZE, 3, *classifier.config.image_size)
    speed, _ = timed(lambda _: forward(classifier.backbone, images), [b""], 1, REQUESTS // BATCH_SIZE)
    return speed * BATCH_SIZE


def _row(through: str, clients: int, speed: float, seconds: np.ndarray, bare: float) -> tuple[str, ...]:
    p50, p95 = np.percentile(1000 * seconds, (50, 95))
    return through, str(clients), f"{speed:.1f}", f"{p50:.0f}", f"{p95:.0f}", f"{speed / bare:.2f}"
