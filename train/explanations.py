"""Measure how well the maps of where the network looked can be believed.

    python -m train explanations --checkpoint runs/NAME --data data/ [--photographs 200]

For photographs of the test split that the checkpoint was not trained on and whose product can be told from a white
background, each method of fashion_model.explain on the last stage, on an earlier one and on both is compared with a
random map, as coarse as those of the last stage, and with a blob in the centre. Prints the means, with 95 % intervals:

- deletion (Petsiuk et al., BMVC 2018): the predicted class's probability while the pixels it is said to lie on turn
  white, the hottest first, averaged over tenths; lower is better.
- insertion: the same while they appear in a blurred photograph; higher is better.
- ROAD (Rong et al., ICML 2022): half of how much more removing the hottest pixels hurts than removing the coldest, each
  filled in from what is around it, by the package grad-cam; higher is better.
- on the product: the share of the heat that lies on it; higher is better.

Photographs are changed as the 60×80 thumbnails that the network knows. Each is asked for one attribute, in turn. All
maps are measured on the same photographs, so a second table has each one's difference to the default, with the interval
of that. On the last stage Grad-CAM and HiResCAM are the same, as the map is averaged before it is classified. An
hour for 200 photographs on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy import ndimage
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from data_prep.splits import TEST
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import CheckpointError
from fashion_model.explain import METHOD, METHODS, activation_maps, resolve_layers
from fashion_model.model import MultiTaskClassifier
from fashion_model.transforms import thumbnail_steps
from train.dataset import DataError
from train.evaluation import TRAINED_ON, Evaluation
from train.tables import markdown_table
from train.versions import product_mask

STEPS = 10  # of deletion and insertion
PERCENTILES = [25, 50, 75]  # of the pixels that ROAD removes
FIGURES = ("deletion", "insertion", "ROAD", "on the product")
DEFAULT = f"{METHOD}, last stage"  # what the others are compared with: fashion_model.explain's METHOD and LAYERS


class FromThumbnail(nn.Module):
    """Thumbnails (B, 3, h, w) in [0, 1] → the probabilities (B, classes) of one attribute."""

    def __init__(self, model: MultiTaskClassifier, attribute: str):
        super().__init__()
        self.model, self.attribute = model, attribute
        self.enlarge = v2.Resize(model.config.image_size, InterpolationMode.BICUBIC)
        self.normalise = v2.Normalize(list(model.config.mean), list(model.config.std))

    def images(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """What the network sees, (B, 3, H, W)."""
        return self.normalise(self.enlarge(thumbnails).clamp(0, 1))

    def forward(self, thumbnails: torch.Tensor) -> torch.Tensor:
        return self.model.calibrate(self.model(self.images(thumbnails)))[self.attribute]


@dataclass(frozen=True)
class Question:
    """A photograph, the attribute it is asked for, and what is known about it."""

    model: FromThumbnail
    thumbnail: torch.Tensor  # (3, h, w) in [0, 1]
    mask: np.ndarray  # (h, w) bool, True on the product
    answer: int  # the predicted class

    @torch.inference_mode()
    def probabilities(self, thumbnails: torch.Tensor) -> np.ndarray:
        """Of the answer, for thumbnails (B, 3, h, w): (B,)."""
        return self.model(thumbnails)[:, self.answer].numpy()


class Maps:
    """What is compared, for one model: name → method and layers.

    Each method on the last stage, on the last one of a finer map (else the middle one), and on both.
    """

    def __init__(self, model: MultiTaskClassifier):
        self.model = model
        with torch.no_grad():
            x, grids = torch.zeros(1, 3, *model.config.image_size), []
            for stage in model.backbone:
                x = stage(x)
                grids.append(tuple(model.as_map(x).shape[2:]))
        finer = [i for i, grid in enumerate(grids) if grid[0] > grids[-1][0]]
        earlier = finer[-1] if finer else len(grids) // 2
        stages = {"last stage": (-1,), f"stage {earlier}": (earlier,), "both": (earlier, -1)}
        self.candidates = {f"{m}, {title}": (m, layers) for title, layers in stages.items() for m in METHODS}
        self.coarse = grids[-1]

    def of(self, question: Question, number: int) -> dict[str, np.ndarray]:
        """Name → map (h, w) in [0, 1] of the thumbnail's size, of each candidate and of both floors."""
        images, target = question.model.images(question.thumbnail[None]), [(question.model.attribute, question.answer)]
        trunks, found = {}, {}
        for name, (method, layers) in self.candidates.items():
            first = resolve_layers(self.model, layers)[0]
            if first not in trunks:
                with torch.no_grad():
                    trunks[first] = self.model.backbone[: first + 1](images)
            (heat,) = activation_maps(self.model, trunks[first], target, method=method, layers=layers)
            found[name] = _enlarged(heat, question.mask.shape)
        height, width = question.mask.shape
        rows, columns = np.indices((height, width))
        distance = ((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2
        # As coarse as the maps of the last stage: noise in single pixels would be another kind of map.
        random = np.random.default_rng(number).random(self.coarse).astype(np.float32)
        found["random map"] = _enlarged(random, question.mask.shape)
        found["blob in the centre"] = np.exp(-distance / (2 * 0.25**2)).astype(np.float32)
        return found


def _enlarged(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def ranks(heat: np.ndarray) -> np.ndarray:
    """The places of the pixels of `heat` (h, w) from the coldest, 0, to the hottest; equal ones in random order.

    Large parts of a map are exactly 0, and in the order of rows they would vanish from the top.
    """
    order = np.lexsort((np.random.default_rng(0).random(heat.size), heat.ravel()))
    found = np.empty(heat.size, dtype=np.int64)
    found[order] = np.arange(heat.size)
    return found.reshape(heat.shape)


def changed(thumbnail: torch.Tensor, other: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """(STEPS + 1, 3, h, w): `thumbnail` (3, h, w), its hottest tenth as in `other`, its hottest two tenths, … all."""
    left = torch.linspace(places.size, 0, STEPS + 1)  # pixels that are still of `thumbnail`
    return torch.where(torch.from_numpy(places) >= left[:, None, None, None], other, thumbnail)


def measure(question: Question, heats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name → (FIGURES,)."""
    thumbnail, places = question.thumbnail, {name: ranks(heat) for name, heat in heats.items()}
    white = torch.ones_like(thumbnail)
    blurred = torch.from_numpy(ndimage.gaussian_filter(thumbnail.numpy(), (0, 5, 5), mode="nearest"))
    targets = [ClassifierOutputTarget(question.answer)] * len(heats)
    torch.manual_seed(0)  # ROAD adds noise
    shares = np.stack([p / p.size for p in places.values()])  # ROAD wants its percentiles to be exact
    road = ROADCombined(PERCENTILES)(thumbnail.expand(len(heats), -1, -1, -1), shares, targets, question.model)
    found = {}
    for (name, heat), of_road in zip(heats.items(), road, strict=True):
        curves = [changed(thumbnail, white, places[name]), changed(blurred, thumbnail, places[name])]
        deletion, insertion = question.probabilities(torch.cat(curves)).reshape(2, -1).mean(axis=1)
        on_product = heat[question.mask].sum() / max(heat.sum(), 1e-9)
        found[name] = np.array([deletion, insertion, of_road, on_product])
    return found


def questions(evaluation: Evaluation, count: int, seed: int = 0) -> Iterator[Question]:
    """The first `count` pictures of the split, in random order, whose product can be told from its background."""
    model = evaluation.model.requires_grad_(False).eval()
    reduce = v2.Compose(thumbnail_steps(model.config))
    asked = 0
    photographs = evaluation.thumbnails()
    distinct = np.flatnonzero(~evaluation.rows["group"].duplicated().to_numpy())
    for i in np.random.default_rng(seed).permutation(distinct):
        thumbnail: Image.Image = reduce(photographs[int(i)])
        mask = product_mask(thumbnail)
        if mask is None:
            continue
        asker = FromThumbnail(model, NAMES[asked % len(NAMES)])
        tensor = transforms.to_dtype(transforms.to_image(thumbnail), torch.float32, scale=True)
        with torch.no_grad():
            yield Question(asker, tensor, mask, int(asker(tensor[None]).argmax()))
        asked += 1
        if asked == count:
            return


def table(measured: Mapping[str, np.ndarray]) -> str:
    """Markdown; measured: name → (photographs, FIGURES). In brackets half of the 95 % interval of the mean."""
    rows = []
    for name, values in measured.items():
        reach = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        rows.append((name, *(f"{m:.3f} (±{r:.3f})" for m, r in zip(values.mean(axis=0), reach, strict=True))))
    return markdown_table(("", *FIGURES), rows)


def measure_all(checkpoint: Path, data: Path, count: int) -> dict[str, np.ndarray]:
    """Name → (photographs, FIGURES). DataError or CheckpointError if there are not two photographs to measure on."""
    if not (checkpoint / TRAINED_ON).is_file():
        raise CheckpointError(f"{checkpoint} has no {TRAINED_ON}, so what it was trained on is not known")
    evaluation = Evaluation(checkpoint, data, TEST)
    maps = Maps(evaluation.model)
    asked = tqdm(questions(evaluation, count), total=count, unit="photograph", disable=None)
    measured = [measure(question, maps.of(question, number)) for number, question in enumerate(asked)]
    if len(measured) < 2:
        raise DataError("fewer than two photographs show a product that can be told from a white background")
    return {name: np.stack([m[name] for m in measured]) for name in measured[0]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train explanations", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint directory")
    parser.add_argument("--data", type=Path, required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--photographs", type=int, default=200)
    options = parser.parse_args(arguments)
    try:
        measured = measure_all(options.checkpoint, options.data, options.photographs)
    except (CheckpointError, DataError) as error:
        print(f"explanations: {error}", file=sys.stderr)
        return 2
    default = measured[DEFAULT]
    print(table(measured))
    print(f"\nLess what {DEFAULT} has on the same photographs:\n")
    print(table({name: values - default for name, values in measured.items() if name != DEFAULT}))
    print(f"\ntest split, {len(default)} photographs; in brackets half of the 95 % interval")
    return 0
