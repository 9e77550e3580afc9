"""Measure speed and memory: each way of doing a thing beside its alternative, in one run.

    python -m train benchmark --photographs data/images [--checkpoint runs/NAME] [--against runs/OTHER …]
        [--count 256] [--rounds 3]

Prints photographs a second and how many times as fast the second way is:

- answers for photographs one by one, and in batches;
- answers of other checkpoints one by one, and of this one, if there are any to be `--against`;
- overlays of all attributes asked for one by one, and together;
- steps of training with freed memory handed back to the system, and kept (Linux with glibc).

Times are the best of `--rounds` turns, taken alternately, so that other work on the machine meets both. On Linux also
the most memory that `fashion_model predict` takes for `--count` photographs, and for eight times as many: it should not
grow. Two minutes on two cores.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch

from fashion_model import CheckpointError, FashionClassifier, ImageError
from fashion_model.__main__ import write_rows
from fashion_model.attributes import NAMES
from fashion_model.backbones import backbone_named
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import find_images
from train.memory import keep_freed_memory
from train.tables import markdown_table

OVERLAYS = 16  # photographs, of four overlays each
TRAINING_STEPS = 4
TIMES = 8  # as many photographs for the second measurement of memory

Way = Callable[[], float]  # does it once and returns photographs a second


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
            for name in NAMES:
                classifier.explain(file, name)

    def together() -> None:
        for file in files:
            classifier.predict_and_explain(file)

    return [lambda: speed_of(one_by_one, len(files)), lambda: speed_of(together, len(files))]


def training() -> list[Way]:
    """Each in a process of its own, as what was told to the C library cannot be taken back."""

    def measured(keep: bool) -> float:
        return float(in_another_process(f"print(training_speed(keep={keep}))"))

    return [lambda: measured(False), lambda: measured(True)]


def training_speed(keep: bool, batch_size: int = 64) -> float:
    """Images a second of forward and backward passes of the compact backbone at 128×128, after two to warm up."""
    if keep and not keep_freed_memory():
        return math.nan
    network = backbone_named("efficientnet_lite0").build((128, 128)).to(memory_format=torch.channels_last)
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
    code = f"from train.benchmark import *; {statement}"
    return subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout


def table(measured: dict[tuple[str, str], list[float]]) -> str:
    """Markdown; measured: what each way is called → photographs a second of each."""
    rows = [
        (*names, *(f"{speed:.1f}" for speed in speeds), f"{speeds[1] / speeds[0]:.2f}")
        for names, speeds in measured.items()
        if not math.isnan(speeds[1])
    ]
    return markdown_table(("first way", "second way", "photographs/s", "photographs/s", "times"), rows, words=2)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--photographs", type=Path, required=True, metavar="FOLDER", help="of any depth and size")
    parser.add_argument("--checkpoint", metavar="REPO_OR_DIR", help="the embedded default if it is not given")
    parser.add_argument("--against", nargs="+", default=[], metavar="REPO_OR_DIR", help="others to compare it with")
    parser.add_argument("--count", type=int, default=256, help="photographs to answer for (256)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of which the best counts (3)")
    options = parser.parse_args(arguments)
    if min(options.count, options.rounds) < 1:
        parser.error("--count and --rounds have to be at least 1")
    try:
        files = list(islice(find_images([options.photographs]), options.count))
        classifier = FashionClassifier.from_pretrained(options.checkpoint)
        others = {name: FashionClassifier.from_pretrained(name) for name in options.against}
        for each in (classifier, *others.values()):
            each.predict(files)  # all can be read, and the first turn is no slower than the others
    except (CheckpointError, ImageError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if not files:
        print(f"benchmark: no image in {options.photographs}", file=sys.stderr)
        return 2
    try:
        print(table(measure(classifier, others, files, options.rounds)))
        print(memory(options))
    except subprocess.CalledProcessError as error:
        print(f"benchmark: a process that was measured ended with status {error.returncode}", file=sys.stderr)
        return 2
    return 0


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
        ("training, memory freed", "kept"): training(),
    }
    return {names: fastest(ways, rounds) for names, ways in measured.items()}


def memory(options: argparse.Namespace) -> str:
    if sys.platform != "linux":
        return "\nMemory is measured on Linux."
    calls = [
        f"write_rows_and_read_peak({options.checkpoint!r}, {str(options.photographs)!r}, {count})"
        for count in (options.count, TIMES * options.count)
    ]
    return "".join("\n" + in_another_process(f"print({call})") for call in calls)
