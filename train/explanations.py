"""Measure how well the maps of where the network looked can be believed.

    python -m train explanations --checkpoint runs/NAME --data data/ [--photographs 200]

Every method of fashion_model.explain on the last stage, on an earlier one and on both is compared with random maps and
with a blob in the centre (train/candidate_maps.py). Prints the means, with 95 % intervals:

- deletion (Petsiuk et al., BMVC 2018): the predicted class's probability while the pixels it is said to lie on turn
  white, the hottest first, averaged over tenths; lower is better.
- insertion: the same while they appear in a blurred photograph; higher is better.
- ROAD (Rong et al., ICML 2022): half of how much more removing the hottest pixels hurts than removing the coldest, each
  filled in from what is around it, by the package grad-cam; higher is better.
- on the product: the share of the heat that lies on it; higher is better.

The photographs are of the test split, not trained on, one of each picture, and have a white background from which the
product can be told; how many have none is printed. They are changed as the network sees them, letterboxed to its
input's size, and asked for one attribute each, in turn: the means are over all four. White is the background, so what
turns white beside the product changes nothing, and deletion says in part the same as the share on the product; a
blurred photograph still has its color. On the last stage Grad-CAM and HiResCAM are the same, as the map is averaged
before it is classified.

A second table has each map's difference to that of Grad-CAM on the last stage, on the same photographs, with its
interval by Student's t, and in how many of the four figures it is better or worse by it; of so many intervals one in
twenty leaves out 0 by chance. The default of fashion_model.explain is the one that is better in most figures less those
in which it is worse, by ROAD among equals.

About eighty minutes for 200 photographs on two cores with EfficientNet-Lite2 at 192×192 pixels and one view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from data_prep.splits import TEST
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import CheckpointError
from fashion_model.transforms import Letterbox
from train.candidate_maps import REFERENCE, CandidateMaps
from train.dataset import DataError
from train.evaluation import Evaluation
from train.faithfulness import BETTER, FIGURES, FromPixels, Question, measure
from train.metrics import mean_and_reach
from train.tables import markdown_table
from train.trained_on import read_trained_on
from train.versions import product_mask


class Questions:
    """Pictures of the split in random order, each once, those whose product can be told from its background."""

    def __init__(self, evaluation: Evaluation, seed: int = 0):
        self.model = evaluation.model.requires_grad_(False).eval()
        self.photographs = evaluation.thumbnails()
        distinct = np.flatnonzero(~evaluation.rows["group"].duplicated().to_numpy())
        self.order = np.random.default_rng(seed).permutation(distinct)
        self.without_mask = 0

    def __iter__(self) -> Iterator[Question]:
        letterbox, attributes = Letterbox(self.model.config.image_size), cycle(NAMES)
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
    values: Mapping[str, np.ndarray]  # name of a map → (photographs, FIGURES)
    without_mask: int  # photographs passed over

    def report(self) -> str:
        """Markdown."""
        reference = self.values[REFERENCE]
        others = {name: values - reference for name, values in self.values.items() if name != REFERENCE}
        rows = [(name, *cells(values), *balance(values)) for name, values in others.items()]
        return "\n\n".join(
            (
                markdown_table(("", *FIGURES), [(name, *cells(values)) for name, values in self.values.items()]),
                f"Less what {REFERENCE} has on the same photographs:",
                markdown_table(("", *FIGURES, "better", "worse"), rows),
                f"test split, {len(reference)} photographs; {self.without_mask} passed over, as their product could "
                "not be told from white; in brackets half of the 95 % interval",
            )
        )


def cells(values: np.ndarray) -> list[str]:
    """values (photographs, FIGURES)."""
    return [f"{mean:.3f} (±{reach:.3f})" for mean, reach in zip(*mean_and_reach(values), strict=True)]


def balance(differences: np.ndarray) -> tuple[str, str]:
    """Differences (photographs, FIGURES) → in how many figures the interval lies on the better side of 0, the worse."""
    mean, reach = mean_and_reach(differences)
    return str(int((BETTER * mean > reach).sum())), str(int((-BETTER * mean > reach).sum()))


class Measurements(Dataset):
    """What is measured for each question: name of a map → (FIGURES,)."""

    def __init__(self, maps: CandidateMaps, questions: list[Question]):
        self.maps, self.questions = maps, questions

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        question = self.questions[number]
        target = (question.model.attribute, question.answer)
        images = question.model.normalise(question.photograph[None])
        return measure(question, self.maps.of(images, target, question.mask.shape, seed=number))


def measure_all(checkpoint: Path, data: Path, count: int, workers: int = 2) -> Measured:
    """DataError or CheckpointError if there are not two photographs to measure on."""
    read_trained_on(checkpoint)  # CheckpointError if that is not known
    evaluation = Evaluation(checkpoint, data, TEST)
    maps, questions = CandidateMaps(evaluation.model), Questions(evaluation)
    asked = list(islice(questions, count))
    if len(asked) < 2:
        raise DataError("fewer than two photographs show a product that can be told from a white background")
    loader = DataLoader(Measurements(maps, asked), batch_size=None, num_workers=workers)
    measured = list(tqdm(loader, unit="photograph", disable=None))
    values = {name: np.stack([np.asarray(m[name]) for m in measured]) for name in measured[0]}
    return Measured(values, questions.without_mask)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train explanations", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="processes that measure, one thread each (2)")
    options = parser.parse_args(arguments)
    if options.photographs < 2:
        parser.error("--photographs has to be at least 2")
    try:
        print(measure_all(options.checkpoint, options.data, options.photographs, options.workers).report())
    except (CheckpointError, DataError, OSError) as error:
        print(f"explanations: {error}", file=sys.stderr)
        return 2
    return 0
