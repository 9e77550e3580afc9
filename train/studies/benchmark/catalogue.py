"""A folder of photographs: rows a second beside the bare network, and memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import torch

from fashion_model import FashionClassifier
from fashion_model.batch import write_rows
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import find_images
from train.studies.benchmark.photograph import forward
from train.studies.benchmark.timing import alternate, speeds

TIMES = 8  # as many photographs for the second measurement of memory
OVERLAYS = 16  # photographs whose overlays are written


def measure(classifier: FashionClassifier, others: dict[str, FashionClassifier], files: list[Path], rounds: int) -> str:
    classifier.take_all_cores()
    batches = -(-len(files) // BATCH_SIZE)
    images = torch.rand(BATCH_SIZE, 3, *classifier.config.image_size)

    def bare() -> None:
        for _ in range(batches):
            forward(classifier.backbone, images)

    def rows(each: FashionClassifier, photographs: list[Path], heatmaps: bool = False) -> None:
        with tempfile.TemporaryDirectory() as written:
            folder = Path(written)
            write_rows(each, photographs, folder / "rows.csv", heatmaps=folder if heatmaps else None)

    ways = {
        f"bare network, batches of {BATCH_SIZE}": bare,
        "photographs → rows": lambda: rows(classifier, files),
        **{f"… of {name}": lambda other=other: rows(other, files) for name, other in others.items()},
    }
    part = files[:OVERLAYS]
    overlays = {"photographs → rows and overlays": lambda: rows(classifier, part, heatmaps=True)}
    return "\n\n".join([speeds(alternate(ways, rounds), len(files)), speeds(alternate(overlays, rounds), len(part))])


def memory(checkpoint: str | None, folder: Path, count: int) -> str:
    """The peak for `count` photographs and for eight times as many, each in a process of its own."""
    if sys.platform != "linux":
        return "Memory is measured on Linux."
    calls = [f"write_rows_and_read_peak({checkpoint!r}, {str(folder)!r}, {count})" for count in (count, TIMES * count)]
    return "".join(in_another_process(__name__, f"print({call})") for call in calls)


def write_rows_and_read_peak(checkpoint: str | None, folder: str, count: int) -> str:
    """Label the first `count` photographs of `folder`, and say how much memory this process held at most."""
    classifier = FashionClassifier.from_pretrained(checkpoint)
    with tempfile.TemporaryDirectory() as written:
        rows = Path(written) / "rows.jsonl"
        write_rows(classifier, islice(find_images([Path(folder)]), count), rows)
        answered = sum('"error": null' in line for line in rows.read_text().splitlines())
    return f"{answered:,} photographs: at most {memory_of('self', 'VmHWM'):,} MiB of memory"


def memory_of(process: int | str, field: str = "VmRSS") -> int:
    """MiB. Linux."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(field))
    return int(kilobytes) // 1024


def in_another_process(module: str, statement: str) -> str:
    code = f"from {module} import *; {statement}"
    try:
        return subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise ValueError(f"a measured process ended with status {error.returncode}") from error
