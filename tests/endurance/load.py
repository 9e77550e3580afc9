"""Many visitors at once: every answer and overlay is that of the visitor's own picture, and none is lost."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.app.examples import EXAMPLES
from fashion_model.images import open_image
from tests.conftest import NAMES, ROOT, running_app
from tests.corpus import saved
from train.studies.benchmark.catalogue import memory_of

CLIENTS, SECONDS = 50, 120
LEAVES = 0.05  # share of the requests whose client goes away before the answer
FULL = "queue"  # a word of gradio's sentence for a full queue
MAX_DIFFERENCE = 6  # levels of 255 that JPEG changes an overlay by, on average


@dataclass(frozen=True)
class Visitor:
    picture: bytes
    labels: dict[str, str]
    overlay: Image.Image


@dataclass
class Counts:
    seconds: list[float] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, seconds: float | None = None) -> None:
        with self.lock:
            self.told[what] += 1
            if seconds is not None:
                self.seconds.append(seconds)


def measure(folder: Path) -> str:
    classifier = FashionClassifier.from_pretrained()
    visitors = [visitor(classifier, number) for number in range(CLIENTS)]
    with running_app(ROOT) as address:
        first = visit(address, visitors, 10)
        before = held_by(address)
        counts = visit(address, visitors, SECONDS)
        visit(address, visitors, SECONDS / 4)
        time.sleep(5)
        after = held_by(address)
    p50, p95, p99 = np.percentile(counts.seconds, (50, 95, 99))
    return (
        f"{CLIENTS} clients for {SECONDS} s: {counts.told['asked']:,} requests, {counts.told['answered']:,} answered, "
        f"each with the labels and the overlay of its own picture; {counts.told['queue full']:,} told that the "
        f"queue is full; {counts.told['left']:,} left. p50 {p50:.1f} s, p95 {p95:.1f} s, p99 {p99:.1f} s. The served "
        f"process held {before:,} MiB after {sum(first.told.values()):,} requests, at the end {after:,} MiB."
    )


def visitor(classifier: FashionClassifier, number: int) -> Visitor:
    """Someone with a picture that nobody else has: an example, turned and cut."""
    paths = [example.path for example in EXAMPLES.values()]
    image = open_image(paths[number % len(paths)])
    cut = image.crop((number, number // 2, image.width - number // 3, image.height)).rotate(number, fillcolor="white")
    picture = saved(cut, "JPEG", quality=95)
    prediction = classifier.predict([picture])[0]
    overlay = classifier.explain(picture, "product_type")
    return Visitor(picture, {name: prediction[name].label for name in NAMES}, overlay)


def visit(address: str, visitors: list[Visitor], seconds: float) -> Counts:
    counts, end = Counts(), time.monotonic() + seconds

    def ask_again_and_again(number: int) -> None:
        visitor, moments = visitors[number], random.Random(number)
        with httpx2.Client(base_url=address, timeout=120) as http:
            while time.monotonic() < end:
                counts.add("asked")
                if moments.random() < LEAVES:
                    leave(http, visitor, moments.uniform(0.05, 1))
                    counts.add("left")
                else:
                    ask(http, visitor, counts)

    with ThreadPoolExecutor(len(visitors)) as pool:
        for done in [pool.submit(ask_again_and_again, number) for number in range(len(visitors))]:
            done.result()
    return counts


def ask(http: httpx2.Client, visitor: Visitor, counts: Counts) -> None:
    start = time.monotonic()
    answer = http.post("/predict", files={"file": ("picture.jpg", visitor.picture)})
    if answer.status_code == 503 and FULL in answer.json()["error"].lower():
        counts.add("queue full")
        time.sleep(0.5)
        return
    document = answer.raise_for_status().json()
    assert {name: document[name]["label"] for name in NAMES} == visitor.labels
    overlay = Image.open(io.BytesIO(http.get(document["overlay"]).raise_for_status().content))
    difference = np.asarray(overlay).astype(int) - np.asarray(visitor.overlay)
    assert np.abs(difference).mean() < MAX_DIFFERENCE
    counts.add("answered", time.monotonic() - start)


def leave(http: httpx2.Client, visitor: Visitor, seconds: float) -> None:
    """Ask, and go before the answer can be there."""
    (path,) = http.post("/gradio_api/upload", files={"files": ("picture.jpg", visitor.picture)}).json()
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    joined = http.post("/gradio_api/call/v2/predict", json={"photo": photo})
    if joined.status_code != 200:
        return
    stream = f"/gradio_api/call/predict/{joined.json()['event_id']}"
    try:
        with http.stream("GET", stream, timeout=seconds):
            pass
    except httpx2.TimeoutException:
        pass


def held_by(address: str) -> int:
    """MiB of the app that `running_app` started at `address`."""
    wanted = f"GRADIO_SERVER_PORT={address.rpartition(':')[2]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"app.py" in (process / "cmdline").read_bytes() and wanted in (process / "environ").read_bytes():
                return memory_of(int(process.name))
        except OSError:  # it has ended, or is another user's
            continue
    raise ValueError(f"no process listens at {address}")
