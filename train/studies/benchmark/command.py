"""Measure speed and memory on this machine, each way of doing something beside its alternatives in the same run.

    python -m train benchmark --photographs data/phone/images --data data/

- photograph: from bytes to labels and overlays, beside the eager network, other engines, and other ways to maps;
- agreement: whether the labels and maps are those of the eager network;
- catalogue: a folder of photographs, beside the bare network; and whether memory grows with their number;
- load: clients at once, beside the bare network; and whether the served process grows;
- training: the step, with and without preparing the views.

The ways strictly alternate; of the rounds the median is shown, with the 10th and the 90th percentile in brackets.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from fashion_model import FashionClassifier
from fashion_model.checkpoint import load_checkpoint
from fashion_model.images import find_images
from train.studies.benchmark import agreement, catalogue, load, photograph, training

Part = Literal["photograph", "agreement", "catalogue", "load", "training"]


@dataclass(frozen=True)
class Config:
    photographs: Path
    """A folder of images."""
    checkpoint: str | None = None
    """A directory or user/repo; the embedded default."""
    against: tuple[str, ...] = ()
    """Other checkpoints, whose speed in the catalogue is measured as well."""
    data: Path | None = None
    """The folder that data_prep wrote, for the views of a training; without it the step alone is measured."""
    parts: tuple[Part, ...] = get_args(Part)
    count: int = 256
    """Photographs of the catalogue and of the agreement."""
    rounds: int = 10
    clients: tuple[int, ...] = (1, 4, 16, 64)
    """At once."""
    requests: int = 2000
    """To the served process, after which its memory is compared."""
    larger: bool = True
    """Also measure the larger networks, which need a gigabyte of memory."""

    def __post_init__(self) -> None:
        if min(self.count, self.rounds, self.requests, *self.clients) < 1:
            raise ValueError("count, rounds, clients and requests must be at least 1")


def run(config: Config) -> None:
    files = list(islice(find_images([config.photographs]), config.count))
    if not files:
        raise ValueError(f"no image in {config.photographs}")
    checkpoint = load_checkpoint(config.checkpoint)
    classifier = FashionClassifier(checkpoint, "cpu")
    classifier.predict(files)  # all files can be read
    others = {name: FashionClassifier.from_pretrained(name, device="cpu") for name in config.against}
    for part in config.parts:
        print(f"\n## {part}\n", flush=True)
        if part == "photograph":
            print(photograph.measure(checkpoint, classifier, files[0], config.rounds, config.larger))
        elif part == "agreement":
            print(agreement.measure(checkpoint, classifier, files))
        elif part == "catalogue":
            print(catalogue.measure(classifier, others, files, config.rounds))
            print(catalogue.memory(config.checkpoint, config.photographs, config.count))
        elif part == "load":
            print(load.measure(classifier, config.checkpoint, files, config.clients, config.requests))
        else:
            print(training.measure(checkpoint.config, config.data, config.rounds))
