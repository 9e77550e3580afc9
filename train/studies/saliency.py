"""Measure how faithful the class activation maps are.

Compares every method of fashion_model.explain on the last stage, on an earlier one and on both with random maps and a
Gaussian in the center. Prints means with 95 % intervals of:

- deletion (Petsiuk et al., BMVC 2018): the predicted class's probability while pixels turn white in the order of the
  map, averaged over tenths; lower is better.
- insertion: the same while pixels appear in a blurred photograph; higher is better.
- ROAD (Rong et al., ICML 2022), by the package grad-cam: half of how much more removing the highest pixels hurts than
  removing the lowest; higher is better.
- on the product: the share of the map that lies on the product; higher is better.

The images are catalogue thumbnails of the test split with a white background, one of each picture, with one attribute
each, in turn. A second table has the differences to Grad-CAM on the last stage, paired by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing import set_sharing_strategy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from data_prep.splits import TEST
from fashion_model.checkpoint import load_checkpoint
from fashion_model.models.multitask import MultiTaskClassifier
from train.data.domains import no_targets, thumbnails
from train.data.foreground import product_mask
from train.data.table import DataError, read_table, read_trained_on, rows_of_split, without_pictures_of
from train.evaluate.metrics import mean_interval
from train.evaluate.tables import markdown_table
from train.studies.candidate_maps import REFERENCE, CandidateMaps
from train.studies.faithfulness import BETTER, METRICS, FromPixels, Question, measure


@dataclass(frozen=True)
class Config:
    checkpoint: Path  # the checkpoint directory
    data: Path  # the folder that data_prep wrote
    images: int = 200
    workers: int = 2  # processes that measure, one thread each

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError("images must be at least 2")


def run(config: Config) -> None:
    print(measure_all(config.checkpoint, config.data, config.images, config.workers).report())


class Questions:
    """Images of the test split in random order, each picture once, those with a product mask.

    CheckpointError if it is not known what the checkpoint was trained on.
    """

    def __init__(self, checkpoint: Path, data: Path, seed: int = 0):
        trained_on = read_trained_on(checkpoint)
        loaded, table = load_checkpoint(checkpoint), read_table(data)
        rows = without_pictures_of(rows_of_split(table, TEST), table, trained_on)
        self.model: MultiTaskClassifier = loaded.model.requires_grad_(False)
        self.photographs = thumbnails(data, rows, no_targets(len(rows), loaded.encoders))
        distinct = np.flatnonzero(~rows["group"].duplicated().to_numpy())
        self.order = np.random.default_rng(seed).permutation(distinct)
        self.without_mask = 0

    def __iter__(self) -> Iterator[Question]:
        letterbox, attributes = self.model.config.preprocessing.letterbox, cycle(self.model.config.num_classes)
        for place in self.order:
            photograph = letterbox(self.photographs[int(place)])
            mask = product_mask(photograph)
            if mask is None:
                self.without_mask += 1
                continue
            asker = FromPixels(self.model, next(attributes))
            tensor = transforms.to_dtype(transforms.to_image(photograph), torch.float32, scale=True)
            with torch.no_grad():
                answer = int(asker(tensor[None]).argmax())
            yield Question(asker, tensor, mask, answer)


@dataclass(frozen=True)
class Measured:
    values: Mapping[str, np.ndarray]  # name of a map → (photographs, METRICS)
    without_mask: int  # photographs passed over

    def report(self) -> str:
        """Markdown."""
        reference = self.values[REFERENCE]
        others = {name: values - reference for name, values in self.values.items() if name != REFERENCE}
        rows = [(name, *cells(values), *balance(values)) for name, values in others.items()]
        return "\n\n".join(
            (
                markdown_table(("", *METRICS), [(name, *cells(values)) for name, values in self.values.items()]),
                f"Difference to {REFERENCE} on the same images:",
                markdown_table(("", *METRICS, "better", "worse"), rows),
                f"test split, {len(reference)} images; {self.without_mask} skipped, because their product is not on "
                "white; in brackets half of the 95 % interval",
            )
        )


def cells(values: np.ndarray) -> list[str]:
    """values (photographs, METRICS)."""
    return [f"{mean:.3f} (±{reach:.3f})" for mean, reach in zip(*mean_interval(values), strict=True)]


def balance(differences: np.ndarray) -> tuple[str, str]:
    """Differences (photographs, METRICS) → in how many figures the interval lies on the better side of 0, the worse."""
    mean, reach = mean_interval(differences)
    return str(int((BETTER * mean > reach).sum())), str(int((-BETTER * mean > reach).sum()))


class Measurements(Dataset):
    """What is measured for each question: name of a map → (METRICS,)."""

    def __init__(self, maps: CandidateMaps, questions: list[Question]):
        self.maps, self.questions = maps, questions

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        question = self.questions[number]
        target = (question.model.attribute, question.answer)
        images = question.model.normalise(question.photograph[None])
        return measure(question, self.maps.of(images, target, question.mask.shape, seed=number))


def unchanged(measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Not as tensors."""
    return measured


def measure_all(checkpoint: Path, data: Path, count: int, workers: int = 2) -> Measured:
    """DataError or CheckpointError if there are not two photographs to measure on."""
    questions = Questions(checkpoint, data)
    maps = CandidateMaps(questions.model)
    asked = list(islice(questions, count))
    if len(asked) < 2:
        raise DataError("fewer than two images show a product on a white background")
    # By default each tensor is handed over as an open file, and forkserver hands over at most 256.
    set_sharing_strategy("file_system")
    loader = DataLoader(Measurements(maps, asked), batch_size=None, num_workers=workers, collate_fn=unchanged)
    measured = list(tqdm(loader, unit="photograph", disable=None))
    values = {name: np.stack([m[name] for m in measured]) for name in measured[0]}
    return Measured(values, questions.without_mask)
