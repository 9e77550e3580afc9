"""Kill commands and load the app for half an hour, and print the figures: python -m tests.endurance [kills] [load]."""

import io
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from tests import conftest  # first: no request leaves this machine

# isort: split
from fashion_model import FashionClassifier
from fashion_model.app.single import EXAMPLES
from fashion_model.images import open_image
from tests.corpus import saved
from tests.hub import Hub
from train.studies.benchmark import app, memory_of

KILLS = 9  # of each command
CLIENTS, SECONDS, LEAVING = 50, 120, 0.05  # LEAVING: share of the requests whose client goes before the answer
FIT = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "64", "64", "--batch-size", "8")
DOWNLOAD = """import sys; from fashion_model import FashionClassifier
FashionClassifier.from_pretrained("user/classifier", cache_dir=sys.argv[1])"""


def kills(folder):
    """SIGKILL at random moments: every file is the old one or the new one, and going on gives the promised result."""
    checkpoint = conftest.saved_model(conftest.discriminating_model(conftest.ATTRIBUTES), folder / "checkpoint")
    photographs = folder / "photographs"
    photographs.mkdir()
    for number, path in enumerate(100 * sorted(conftest.PHONE.glob("*.jpg"))):
        (photographs / f"{number:05}.jpg").symlink_to(path)
    prepared = killed(folder / "prepared", "-m", "data_prep", "catalogue", "--source", conftest.PRODUCTS, "--output")
    command = ("-m", "fashion_model", "predict", photographs, "--checkpoint", checkpoint, "--output")
    killed(folder / "rows.jsonl", *command, resume=["--resume"], check=no_row_twice)
    command = ("-m", "train", "fit", "--data", prepared, *FIT, "--epochs", "6", "--epoch-views", "64", "--output")
    weights = ("model.safetensors", "config.json", "label_encoders.json", "trained_on.txt")
    latest = killed(folder / "trained", *command, resume=["--resume"], check=loads, files=weights)
    for name, files in (("calibrate", ("config.json",)), ("evaluate", ("config.json", "metrics.json"))):
        command = ("-m", "train", name, "--data", prepared, "--workers", "0", "--checkpoint")
        latest = killed(folder / name, *command, start=latest, check=loads, files=files)
    with Hub(conftest.LISTENER).running() as hub:
        hub.add("model", "user/classifier", conftest.contents(checkpoint))
        hub.before = lambda request: time.sleep(1)  # so that most of the time is the download's
        killed(folder / "cache", "-c", DOWNLOAD, files=tuple(conftest.contents(checkpoint)))
    return f"Six commands were killed {KILLS} times each; no file was damaged, no row lost or repeated."


def killed(output, *command, resume=(), start=None, check=None, files=("",)):
    """Kill a command that writes `output`, changing a copy of `start`, at random moments, and let it end.

    Each kill leaves old and new files only, or what `check` accepts; at the end the files whose names end with `files`
    are those of an undisturbed run. Returns what that run wrote.
    """
    undisturbed = output.with_name(f"undisturbed-{output.name}")
    command = [sys.executable, *map(str, command)]

    def begin(path):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        if start:
            shutil.copytree(start, path)

    begin(undisturbed)
    began = time.monotonic()
    subprocess.run([*command, undisturbed], cwd=conftest.ROOT, check=True, stdout=-3)
    seconds, moments, count = time.monotonic() - began, random.Random(0), 0
    expected = written(undisturbed, files)
    begin(output)
    while count < KILLS:
        with subprocess.Popen([*command, output, *resume], cwd=conftest.ROOT, stdout=-3, stderr=-3) as process:
            try:
                assert process.wait(moments.uniform(0.3, 1.0) * seconds) == 0
                begin(output)
            except subprocess.TimeoutExpired:
                process.kill()
                count += 1
        if check:
            check(output)
        else:
            for name, content in written(output, files).items():
                assert name.endswith(".unfinished") or content == expected[name]
    subprocess.run([*command, output, *resume], cwd=conftest.ROOT, check=True, stdout=-3)
    assert written(output, files) == expected
    return undisturbed


def written(path, files):
    """Name → content."""
    found = {"": path.read_bytes()} if path.is_file() else conftest.contents(path)
    return {name: content for name, content in found.items() if name.endswith(files)}


def no_row_twice(path):
    rows = path.read_text().splitlines()[:-1] if path.is_file() else []
    assert len({row.split(",")[0] for row in rows}) == len(rows)


def loads(path):
    if all((path / name).is_file() for name in ("model.safetensors", "config.json", "label_encoders.json")):
        FashionClassifier.from_pretrained(path)


def load(folder):
    """Many visitors at once: every answer and overlay is that of the visitor's own picture, and none is lost."""
    classifier = FashionClassifier.from_pretrained()
    visitors = [visitor(classifier, number) for number in range(CLIENTS)]
    with app(None) as (http, process):
        visit(http, visitors, 10)
        before = memory_of(process)
        requests = visit(http, visitors, SECONDS)
        time.sleep(5)
        after = memory_of(process)
    outcomes = Counter(outcome for outcome, _ in requests)
    p50, p95, p99 = np.percentile([seconds for outcome, seconds in requests if outcome == "answered"], (50, 95, 99))
    return (
        f"{CLIENTS} clients for {SECONDS} s: {dict(outcomes)}, each with labels and overlay of its own picture. "
        f"p50 {p50:.1f} s, p95 {p95:.1f} s, p99 {p99:.1f} s. The app held {before:,} MiB, at the end {after:,} MiB."
    )


def visitor(classifier, number):
    """A picture that nobody else has, an example turned and cut; its labels and its overlay."""
    image = open_image(EXAMPLES[number % len(EXAMPLES)])
    cut = image.crop((number, number // 2, image.width - number // 3, image.height)).rotate(number, fillcolor="white")
    picture = saved(cut, "JPEG", quality=95)
    prediction, overlays = classifier.predict_and_explain(picture, ["product_type"])
    return picture, {name: prediction[name].label for name in conftest.NAMES}, np.asarray(overlays["product_type"])


def visit(http, visitors, seconds):
    """The outcome of each request, and after how many seconds."""
    end = time.monotonic() + seconds

    def ask_until_the_end(number):
        moments, requests = random.Random(number), []
        while (began := time.monotonic()) < end:
            timeout = moments.uniform(0.05, 1) if moments.random() < LEAVING else 120
            requests.append((ask(http, *visitors[number], timeout), time.monotonic() - began))
        return requests

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(chain.from_iterable(pool.map(ask_until_the_end, range(CLIENTS))))


def ask(http, picture, labels, overlay, timeout):
    try:
        response = http.post("/predict", files={"file": ("picture.jpg", picture)}, timeout=timeout)
    except httpx2.TimeoutException:
        assert timeout < 120, "no answer"
        return "left"
    if response.status_code == 503:
        time.sleep(0.5)
        return "refused"
    document = response.raise_for_status().json()
    assert {name: document[name]["label"] for name in conftest.NAMES} == labels
    received = Image.open(io.BytesIO(http.get(document["overlay"]).raise_for_status().content))
    assert np.abs(np.asarray(received).astype(int) - overlay).mean() < 6, "JPEG changes less"
    return "answered"


if __name__ == "__main__":
    for part in sys.argv[1:] or ("kills", "load"):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = {"kills": kills, "load": load}[part](Path(folder))
        print(f"## {part} ({time.monotonic() - began:,.0f} s)\n\n{figures}\n", flush=True)
