"""FashionClassifier: photographs in, predictions and Grad-CAM overlays out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from fashion_model.attributes import NAMES, attribute_named
from fashion_model.checkpoint import Checkpoint, load_checkpoint
from fashion_model.explain import (
    LAYERS,
    METHOD,
    OPACITY,
    ROLLOUT,
    activation_maps,
    heat_image,
    overlay,
    resolve_layers,
)
from fashion_model.folding import fold_batch_norms
from fashion_model.hub import DEFAULT_TIMEOUT
from fashion_model.images import ImageError, open_image
from fashion_model.rollout import attention_rollout, has_attention
from fashion_model.transforms import eval_transform

Photograph = str | os.PathLike[str] | bytes | Image.Image
Targets = Sequence[tuple[str, int | None]]  # attributes and class indices, None for the predicted one
Item = TypeVar("Item")
BATCH_SIZE = 8  # larger ones leave the caches of common processors


@dataclass(frozen=True, eq=False)
class AttributePrediction:
    """The probability of each label of one attribute; they sum to 1."""

    labels: tuple[str, ...]
    probabilities: np.ndarray  # (classes,) float32

    @property
    def label(self) -> str:
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable labels with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[i], float(self.probabilities[i])) for i in best]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says of one photograph: `prediction.color`, or `prediction["color"]`, for each attribute.

    Where `is_fashion` is False, the photograph does not look like a fashion product and the answers may mean nothing.
    """

    answers: Mapping[str, AttributePrediction]
    fashion_score: float  # log odds that it shows a fashion product
    is_fashion: bool  # whether the score reaches the checkpoint's threshold

    def __getitem__(self, attribute: str) -> AttributePrediction:
        return self.answers[attribute_named(attribute).name]

    def __getattr__(self, attribute: str) -> AttributePrediction:
        if attribute in NAMES:
            return self.answers[attribute]
        raise AttributeError(attribute)


class FashionClassifier:
    """A checkpoint ready for use. Safe to share between threads."""

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device | None = None):
        self.name = checkpoint.name
        self.report = checkpoint.report
        self.config = checkpoint.config
        self.encoders = checkpoint.encoders
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = copy.deepcopy(checkpoint.model).eval().requires_grad_(False)  # whoever gave it may train it further
        self._model = fold_batch_norms(model).to(self._device, memory_format=torch.channels_last)
        self._transform = eval_transform(self.config)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        refresh: bool = False,
        device: str | torch.device | None = None,
    ) -> FashionClassifier:
        """Load `source`: None for the embedded default, a directory, `user/repo` or `user/repo@revision` on the Hub.

        A repository that is in the cache is loaded from there without a request; `refresh` asks the Hub what its branch
        or tag stands for today. `timeout`: seconds to wait for a Hub that sends nothing.
        CheckpointError if it cannot be found or does not fit together; from the Hub HubCheckpointError.
        """
        checkpoint = load_checkpoint(
            source, revision=revision, token=token, cache_dir=cache_dir, timeout=timeout, refresh=refresh
        )
        return cls(checkpoint, device)

    def predict(self, images: Iterable[Photograph], batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """One prediction an image, in order; a path, bytes or PIL image each.

        ImageError if one cannot be read; for a path it begins with the path.
        """
        predictions = []
        for image, result in self.stream(images, batch_size):
            if isinstance(result, ImageError):
                raise result if isinstance(image, bytes | Image.Image) else ImageError(f"{image}: {result}") from result
            predictions.append(result)
        return predictions

    def stream(
        self,
        images: Iterable[Item],
        batch_size: int = BATCH_SIZE,
        read: Callable[[Item], Image.Image] = open_image,
    ) -> Iterator[tuple[Item, Prediction | ImageError]]:
        """Each image with its prediction, or with what is wrong with it, in order and in batches.

        One decoded photograph is held at a time, however many there are. Images that are no `Photograph` need their own
        `read`: the upright RGB photograph of one of them, or an ImageError.
        """
        if isinstance(images, str | os.PathLike | bytes | Image.Image):
            raise TypeError("a list of images is expected, not a single one")
        for batch in batches(images, batch_size):
            inputs = [self._input(image, read) for image in batch]
            good = [x for x in inputs if isinstance(x, torch.Tensor)]
            predictions = iter(self._predictions(self._model.features(self._batch(good))) if good else [])
            yield from zip(batch, [x if isinstance(x, ImageError) else next(predictions) for x in inputs], strict=True)

    def explain(
        self,
        image: Photograph,
        attribute: str,
        label: str | None = None,
        *,
        method: str | None = None,
        layers: Sequence[int] | None = None,
        opacity: float = OPACITY,
    ) -> Image.Image:
        """The photograph with the map of where the evidence for `label` of `attribute` lies, in the photograph's size.

        Without `label`, the predicted one; `predict_and_explain` says what the others do. ValueError for an unknown
        attribute, label or method, or layers or an opacity that cannot be; ImageError as in `predict`.
        """
        labels = {attribute: label} if label is not None else {}
        _, overlays = self.predict_and_explain(
            image, [attribute], labels, method=method, layers=layers, opacity=opacity
        )
        return overlays[attribute]

    def predict_and_explain(
        self,
        image: Photograph,
        attributes: Sequence[str] = NAMES,
        labels: dict[str, str] | None = None,
        *,
        method: str | None = None,
        layers: Sequence[int] | None = None,
        opacity: float = OPACITY,
    ) -> tuple[Prediction, dict[str, Image.Image]]:
        """The prediction and, for each of `attributes`, the overlay. What comes before the maps runs once for all.

        `labels` names the class to explain where it is not the predicted one. `method` is one of `explain.METHODS`;
        `layers` are stages of the backbone, counted as Python does, whose maps are averaged. Without both it is what
        measures best: Grad-CAM++ on the last stage, for transformers `rollout`, which takes no layers and has one map
        for all classes. `opacity` is that of the hottest place, in [0, 1].
        """
        unused = set(labels or {}) - set(attributes)
        if unused:
            raise ValueError(f"labels are given for {', '.join(sorted(unused))}, which are not to be explained")
        targets = [(name, self._index_of(name, (labels or {}).get(name))) for name in attributes]
        if method is None:
            method = ROLLOUT if layers is None and has_attention(self._model) else METHOD
        photograph = open_image(image)
        batch = self._batch([self._transform(photograph)])
        if method == ROLLOUT:
            prediction, heats = self._rolled_out(batch, targets, layers)
        else:
            prediction, heats = self._activated(batch, targets, method, LAYERS if layers is None else layers)
        frame = self.config.image_size
        return prediction, {
            name: overlay(photograph, heat_image(heat, photograph.size, frame), opacity)
            for (name, _), heat in zip(targets, heats, strict=True)
        }

    def _activated(
        self, batch: torch.Tensor, targets: Targets, method: str, layers: Sequence[int]
    ) -> tuple[Prediction, Sequence[np.ndarray]]:
        """The prediction for a batch (1, 3, H, W) of one, and a map (h, w) of each target."""
        model = self._model
        first = resolve_layers(model, layers)[0] + 1
        with torch.no_grad():
            trunk = model.backbone[:first](model.views(batch))
            prediction = self._predictions(model.joined(model.backbone[first:](trunk)))[0]
        if not targets:
            return prediction, []
        chosen = [(n, int(prediction[n].probabilities.argmax()) if i is None else i) for n, i in targets]
        rows = trunk.repeat_interleave(len(chosen), dim=0)
        return prediction, activation_maps(model, rows, chosen, method=method, layers=layers)

    def _rolled_out(
        self, batch: torch.Tensor, targets: Targets, layers: Sequence[int] | None
    ) -> tuple[Prediction, Sequence[np.ndarray]]:
        """As `_activated`; all targets have the same map."""
        if layers is not None:
            raise ValueError(f"{ROLLOUT} goes through all layers; none can be chosen")
        feature_map, heat = attention_rollout(self._model, batch)
        return self._predictions(feature_map)[0], [heat] * len(targets)

    def _input(self, image: Item, read: Callable[[Item], Image.Image]) -> torch.Tensor | ImageError:
        """(3, H, W)."""
        try:
            return self._transform(read(image))
        except ImageError as error:
            return error

    def _batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """(B, 3, H, W)."""
        return torch.stack(inputs).to(self._device, memory_format=torch.channels_last)

    @torch.no_grad()
    def _predictions(self, feature_map: torch.Tensor) -> list[Prediction]:
        pooled = self._model.pool(feature_map)
        logits = self._model.heads(pooled)
        probabilities = self._model.calibrate(logits)
        arrays = {name: p.cpu().numpy() for name, p in probabilities.items()}
        scores = self._model.fashion_scores(pooled).tolist()
        return [
            Prediction(
                {n: AttributePrediction(self.encoders.labels[n], arrays[n][i]) for n in NAMES},
                fashion_score=score,
                is_fashion=score >= self.config.fashion_threshold,
            )
            for i, score in enumerate(scores)
        ]

    def _index_of(self, attribute: str, label: str | None) -> int | None:
        labels = self.encoders.labels[attribute_named(attribute).name]
        if label is None:
            return None
        if label not in labels:
            raise ValueError(f"unknown label {label!r} for {attribute}")
        return labels.index(label)


def batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one maybe shorter."""
    if size < 1:
        raise ValueError(f"the batch size must be at least 1; it is {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
