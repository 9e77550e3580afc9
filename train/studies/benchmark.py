"""Measure speed and memory, each way of doing something beside its alternative in the same run.

Prints images a second and their ratio, the best of `rounds` alternating turns, of: prediction one by one and in
batches; other checkpoints and this one; overlays one by one and together; training steps with freed memory returned
to the system and kept (Linux with glibc). On Linux also the peak memory of `fashion_model predict` for `count` images
and for eight times as many, which should be the same.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from fashion_model import FashionClassifier
from fashion_model.batch import write_rows
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import find_images
from fashion_model.models.backbones import Backbone
from train.evaluate.tables import markdown_table
from train.memory import keep_freed_memory

OVERLAYS = 16  # photographs, of four overlays each
TRAINING_STEPS = 4
TIMES = 8  # as many photographs for the second measurement of memory

Way = Callable[[], float]  # does it once and returns images a second


@dataclass(frozen=True)
class Config:
    photographs: Path  # a folder of images
    checkpoint: str | None = None  # a directory or user/repo; the embedded default
    against: tuple[str, ...] = ()  # other checkpoints to compare it with
    count: int = 256  # images to predict
    rounds: int = 3  # alternating turns, of which the best counts

    def __post_init__(self) -> None:
        if min(self.count, self.rounds) < 1:
            raise ValueError("count and rounds must be at least 1")


def run(config: Config) -> None:
    files = list(islice(find_images([config.photographs]), config.count))
    if not files:
        raise ValueError(f"no image in {config.photographs}")
    classifier = FashionClassifier.from_pretrained(config.checkpoint)
    others = {name: FashionClassifier.from_pretrained(name) for name in config.against}
    for each in (classifier, *others.values()):
        each.predict(files)  # warm-up; and all files can be read
    try:
        print(table(measure(classifier, others, files, config.rounds)))
        print(memory(config))
    except subprocess.CalledProcessError as error:
        raise ValueError(f"a measured process ended with status {error.returncode}") from error


def fastest(ways: Sequence[Way], rounds: int) -> list[float]:
    """The best of `rounds` turns of each, taken in turn."""
    turns = [[way() for way in ways] for _ in range(rounds)]
    return [max(speeds) for speeds in zip(*turns, strict=True)]


def speed_of(work: Callable[[], object], photographs: int) -> float:
    start = time.perf_counter()
    work()
    return photographs / (time.perf_counter() - start)


def answers(classifier: FashionClassifier, files: list[Path]) -> list[Way]:
    def answer(batch_size: int) -> float:
        return speed_of(lambda: classifier.predict(files, batch_size), len(files))

    return [lambda: answer(1), lambda: answer(BATCH_SIZE)]


def overlays(classifier: FashionClassifier, files: list[Path]) -> list[Way]:
    def one_by_one() -> None:
        for file in files:
            for attribute in classifier.attributes:
                classifier.explain(file, attribute.name)

    def together() -> None:
        for file in files:
            classifier.predict_and_explain(file)

    return [lambda: speed_of(one_by_one, len(files)), lambda: speed_of(together, len(files))]


def training(batch_size: int) -> list[Way]:
    """Each in a process of its own, as what was told to the C library cannot be taken back."""

    def measured(keep: bool) -> float:
        return float(in_another_process(f"print(training_speed({keep}, {batch_size}))"))

    return [lambda: measured(False), lambda: measured(True)]


def training_speed(keep: bool, batch_size: int) -> float:
    """Images a second of forward and backward passes of the compact backbone at 128×128, after two to warm up."""
    if keep and not keep_freed_memory():
        return math.nan
    network = Backbone("tf_efficientnet_lite0", (128, 128)).to(memory_format=torch.channels_last)
    images = torch.randn(batch_size, 3, 128, 128).to(memory_format=torch.channels_last)

    def steps(count: int) -> None:
        for _ in range(count):
            network(images).mean().backward()
            network.zero_grad(set_to_none=True)

    steps(2)
    return speed_of(lambda: steps(TRAINING_STEPS), TRAINING_STEPS * batch_size)


def write_rows_and_read_peak(checkpoint: str | None, folder: str, count: int) -> str:
    """Label the first `count` photographs of `folder`, and say how much memory this process held at most."""
    classifier = FashionClassifier.from_pretrained(checkpoint)
    with tempfile.TemporaryDirectory() as written:
        rows = Path(written) / "rows.jsonl"
        options = argparse.Namespace(output=rows, resume=False, heatmaps=None)
        write_rows(classifier, islice(find_images([Path(folder)]), count), options)
        answered = sum('"error": null' in line for line in rows.read_text().splitlines())
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return f"{answered:,} photographs: at most {int(peak) // 1024:,} MiB of memory"


def in_another_process(statement: str) -> str:
    code = f"from train.studies.benchmark import *; {statement}"
    return subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout


def table(measured: dict[tuple[str, str], list[float]]) -> str:
    """Markdown; measured: what each way is called → photographs a second of each."""
    rows = [
        (*names, *(f"{speed:.1f}" for speed in speeds), f"{speeds[1] / speeds[0]:.2f}")
        for names, speeds in measured.items()
        if not math.isnan(speeds[1])
    ]
    return markdown_table(("first way", "second way", "photographs/s", "photographs/s", "times"), rows, words=2)


def measure(
    classifier: FashionClassifier, others: Mapping[str, FashionClassifier], files: list[Path], rounds: int
) -> dict[tuple[str, str], list[float]]:
    """What each way is called → photographs a second of each."""
    measured = {
        ("answers one by one", f"in batches of {BATCH_SIZE}"): answers(classifier, files),
        **{
            (f"answers of {name} one by one", "of this one"): [
                answers(other, files)[0],
                answers(classifier, files)[0],
            ]
            for name, other in others.items()
        },
        ("four overlays one by one", "together"): overlays(classifier, files[:OVERLAYS]),
        ("training, memory freed", "kept"): training(min(64, len(files))),
    }
    return {names: fastest(ways, rounds) for names, ways in measured.items()}


def memory(config: Config) -> str:
    if sys.platform != "linux":
        return "\nMemory is measured on Linux."
    calls = [
        f"write_rows_and_read_peak({config.checkpoint!r}, {str(config.photographs)!r}, {count})"
        for count in (config.count, TIMES * config.count)
    ]
    return "".join("\n" + in_another_process(f"print({call})") for call in calls)
