"""FashionClassifier: photographs → predictions and Grad-CAM overlays."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from fashion_model.attributes import PRODUCT_TYPE, Attribute
from fashion_model.checkpoint import Checkpoint, check_finder, load_checkpoint
from fashion_model.explain import LAYERS, METHOD, OPACITY, Explained, Target, backdrop, explain, faded, overlay
from fashion_model.hub import DEFAULT_TIMEOUT
from fashion_model.images import ImageError, Source, open_image
from fashion_model.models.backbones import Backbone
from fashion_model.models.engine import building, fold_batch_norms, isolated, onnx_engine
from fashion_model.models.finder import MIN_SIDE, Finder, distinct
from fashion_model.predictions import AttributePrediction, Prediction, Product
from fashion_model.preprocessing import CROP_MARGIN

Item = TypeVar("Item")
Result = TypeVar("Result")
Maps = dict[str, np.ndarray]  # attribute name → (labels, h, w) float32 in [0, 1]
Box = tuple[int, int, int, int]  # left, top, right, bottom
Found = tuple[Product, Maps, Box]  # the box is what the prediction is about and the maps cover
BATCH_SIZE = 4  # activations of larger batches do not fit into the caches of common processors
WORKERS = 2  # batches that are read and predicted at the same time
DETAIL = 500  # pixels: of a large JPEG file no more is decoded than leaves no side shorter
PRODUCT_DETAIL = 1000  # the same for a photograph of several products, which are cropped
OTHER = "other"  # group of a product that the finder has not found


if hasattr(os, "register_at_fork"):  # a forked process would wait for PyTorch's threads, which it does not have
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def open_for_network(image: Source) -> Image.Image:
    """The photograph as from `open_image`, but large JPEG files in no more detail than the network needs."""
    return open_image(image, DETAIL)


class FashionClassifier:
    """A checkpoint ready for prediction. Safe to share between threads.

    In a forked process it works on one core. With ONNX Runtime such a process has to end with `os._exit`, as those of
    multiprocessing do; servers that fork, such as gunicorn, should load it after the fork.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device | None = None):
        self.name = checkpoint.name
        self.directory = checkpoint.directory
        self.config = checkpoint.config
        self.encoders = checkpoint.encoders
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with building():
            model = copy.deepcopy(checkpoint.model).eval().requires_grad_(False)  # the caller may train its model on
            example = torch.rand(2, 3, *self.config.image_size)
            model.backbone = fold_batch_norms(model.backbone, example)
            if self._device.type == "cpu":
                model.backbone.use_engine(example)
            self.model = model.to(self._device).to(memory_format=torch.channels_last)
            self.finder = self._served(checkpoint.finder) if checkpoint.finder else None
        self._transform = self.config.preprocessing

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

        A cached repository is loaded without a request; `refresh` asks the Hub for the current commit of its branch or
        tag. `timeout`: seconds to wait for a Hub that sends nothing.
        CheckpointError if it cannot be found or is inconsistent; for a Hub repository HubCheckpointError.
        """
        checkpoint = load_checkpoint(
            source, revision=revision, token=token, cache_dir=cache_dir, timeout=timeout, refresh=refresh
        )
        return cls(checkpoint, device)

    def take_all_cores(self) -> None:
        """Tell PyTorch to use one thread if an engine computes the backbone: its threads would take the engine's cores.

        For a process that does nothing else with PyTorch.
        """
        if self.backbone.engine:
            torch.set_num_threads(1)

    def warm_up(self) -> None:
        """Load what is loaded on first use, so that the first photograph does not wait for it."""
        self.predict_and_explain(Image.new("RGB", self.config.image_size[::-1]))

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that the checkpoint predicts, in its order."""
        return self.config.attributes

    @property
    def backbone(self) -> Backbone:
        """The network before the heads, as it is served: images (B, 3, H, W) → feature map."""
        return self.model.backbone

    def predict(self, images: Iterable[Source], batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """One prediction an image, in order; each image is a path, the bytes of a file, or a PIL image.

        ImageError if one cannot be read; the message for a path begins with the path.
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
        read: Callable[[Any], Image.Image] = open_for_network,
    ) -> Iterator[tuple[Item, Prediction | ImageError]]:
        """Each image with its prediction or its ImageError, in order and computed in batches.

        Two threads read and predict a batch each, so that one decodes while the other computes; each holds one decoded
        photograph at a time. Items that are none of these need a `read` function that returns the upright RGB
        photograph of an item or raises ImageError.
        """
        if isinstance(images, str | os.PathLike | bytes | Image.Image):
            raise TypeError("a list of images is expected, not a single one")

        def input_of(image: Item) -> torch.Tensor | ImageError:
            try:
                return self._transform(read(image))
            except ImageError as error:
                return error

        def label(batch: list[Item]) -> list[tuple[Item, Prediction | ImageError]]:
            inputs = [input_of(image) for image in batch]
            readable = [x for x in inputs if isinstance(x, torch.Tensor)]
            with isolated(self._device.type):
                predictions = iter(self._predictions(self.model.features(self._batch(readable))) if readable else ())
            results = (x if isinstance(x, ImageError) else next(predictions) for x in inputs)
            return list(zip(batch, results, strict=True))

        for labelled in in_parallel(label, batches(images, batch_size), WORKERS):
            yield from labelled

    def explain(
        self,
        image: Source,
        attribute: str,
        label: str | None = None,
        *,
        box: Sequence[int] | None = None,
        method: str = METHOD,
        layers: Sequence[int] = LAYERS,
        opacity: float = OPACITY,
    ) -> Image.Image:
        """The overlay for `label` of `attribute`, by default the predicted label, in the photograph's size.

        The attribute may also be `is_fashion`, whose labels are yes and no: where the photograph looks like a fashion
        product, or why it does not.

        Arguments and errors as for `predict_and_explain`.
        """
        labels = {attribute: label} if label is not None else {}
        _, overlays = self.predict_and_explain(
            image, [attribute], labels, box=box, method=method, layers=layers, opacity=opacity
        )
        return overlays[attribute]

    def check_finder(self) -> None:
        """CheckpointError if the checkpoint has no finder."""
        check_finder(self.name, self.finder)

    def find(self, image: Source) -> list[Product]:
        """The products in a photograph, at most MAX_PRODUCTS, the most certain one first.

        A photograph that looks like a product in which none is found is one product: that of a likely and large box, or
        the whole. CheckpointError if the checkpoint has no finder; ImageError as in `predict`.
        """
        self.check_finder()
        return [product for product, _, _ in self.products_in(self.open(image), 0)]

    def stream_products(self, images: Iterable[Item]) -> Iterator[tuple[Item, list[Product] | ImageError]]:
        """Each image with its products or its ImageError, in order; two are worked on at the same time."""

        def products_of(image: Any) -> tuple[Any, list[Product] | ImageError]:
            try:
                return image, self.find(image)
            except ImageError as error:
                return image, error

        return in_parallel(products_of, images, WORKERS)

    def open(self, image: Source) -> Image.Image:
        """The photograph in the detail in which products are looked for."""
        return open_image(image, PRODUCT_DETAIL if self.finder else DETAIL)

    def products_in(self, photograph: Image.Image, classes: int) -> list[Found]:
        """Those of `find_and_map` that look like fashion products."""
        return [each for each in self.find_and_map(photograph, classes) if each[0].prediction.is_fashion]

    def find_and_map(self, photograph: Image.Image, classes: int) -> list[Found]:
        """The products in a photograph from `open`, each with maps as from `predict_and_map` and the box they cover.

        Where there are not several, and the whole photograph looks like a fashion product, it is predicted as the only
        one, and its box is a likely and large one: parts of a product that fills the photograph are found as well.
        Where none is found, or the checkpoint has no finder, the whole photograph is the only one, whatever its fashion
        score.
        """
        located, whole = self._located(photograph), (0, 0, *photograph.info["size"])
        certain = [each for each in located if self.finder and each[2] >= self.finder.config.threshold]
        products = self._products(photograph, certain, classes)
        if len(products) > 1:
            return products
        prediction, maps = self._predicted_and_mapped(photograph, classes)
        if products and not prediction.is_fashion:
            return products
        if not located or not prediction.is_fashion:
            return [(Product(whole, OTHER, 1.0, prediction), maps, whole)]
        box, _, score = max(located, key=lambda each: each[2] * math.sqrt(area_of(each[0])))
        return [(Product(box, self._group_of(prediction), score, prediction), maps, whole)]

    def _group_of(self, prediction: Prediction) -> str:
        """The finder's group of the product type."""
        groups = self.finder.config.groups.items() if self.finder else ()
        return next((name for name, types in groups if prediction[PRODUCT_TYPE].label in types), OTHER)

    def _products(
        self, photograph: Image.Image, located: Iterable[tuple[Box, str, float]], classes: int
    ) -> list[Found]:
        """Those of `_located` that look like fashion products, and of several those of a type of the group found.

        Of several of one type that overlap only the first one.
        """
        products: list[Found] = []
        for box, group, score in located:
            prediction, maps = self._predicted_and_mapped(part_of(photograph, box), classes, group)
            if prediction.is_fashion:
                area = with_margin(box, photograph.info["size"])
                products.append((Product(box, group, score, prediction), maps, area))
        if len(products) < 2:
            return products
        assert self.finder
        types, groups = [p.prediction[PRODUCT_TYPE].label for p, _, _ in products], self.finder.config.groups
        with isolated(self._device.type):
            boxes = torch.tensor([p.box for p, _, _ in products], dtype=torch.float32)
            kept = distinct(boxes, torch.tensor([types.index(label) for label in types]))
        return [products[i] for i in kept if types[i] in groups[products[i][0].group]] or products[:1]

    def _located(self, photograph: Image.Image) -> list[tuple[Box, str, float]]:
        """Box, group and score of what may be products, the most certain one first."""
        if not self.finder:
            return []
        with isolated(self._device.type):
            boxes, scores, groups = (x.tolist() for x in self.finder.locate(photograph, self._transform))
        names = list(self.finder.config.groups)
        located = zip(map(tuple, boxes), (names[group] for group in groups), scores, strict=True)
        return [each for each in located if min(each[0][2] - each[0][0], each[0][3] - each[0][1]) >= MIN_SIDE]

    def predict_and_explain(
        self,
        image: Source,
        attributes: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        box: Sequence[int] | None = None,
        method: str = METHOD,
        layers: Sequence[int] = LAYERS,
        opacity: float = OPACITY,
    ) -> tuple[Prediction, dict[str, Image.Image]]:
        """The prediction, and the overlay for each of `attributes` (all by default), from one run of the backbone.

        With a `box`, left, top, right and bottom in pixels of the upright photograph, they are about what is in it.
        `labels` names the class to explain where it is not the predicted one. `method` is one of
        `fashion_model.explain.METHODS`. `layers` are indices of the backbone's stages, negative ones from the end;
        the maps of several are averaged. `opacity` in [0, 1] is that of the color at the map's maximum. ValueError for
        an unknown attribute, label, method or layer, or an invalid opacity; ImageError as in `predict`.
        """
        names = list(self.config.num_classes) if attributes is None else list(attributes)
        unused = set(labels or {}) - set(names)
        if unused:
            raise ValueError(f"labels are given for {', '.join(sorted(unused))}, which are not to be explained")
        targets = [Target(*self.encoders.target(name, (labels or {}).get(name))) for name in names]
        seen = open_for_network(image) if box is None else open_image(image)
        part = seen if box is None else part_of(seen, checked(box, seen.size))
        explained = self._explain(part, targets, method, layers)
        photograph = seen if seen.size == seen.info["size"] else open_image(image)
        ground, pairs = backdrop(photograph), zip(names, explained.maps, strict=True)
        area = box and with_margin(box, ground.info["size"])
        overlays = {name: self.draw(ground, values, area, opacity) for name, values in pairs}
        return self._predictions(explained.pooled)[0], overlays

    def draw(
        self, ground: Image.Image, values: np.ndarray, area: Sequence[int] | None = None, opacity: float = OPACITY
    ) -> Image.Image:
        """The overlay of a map (h, w) in [0, 1] that covers an area of the photograph, by default all of it.

        The map of a part fades out. `ground` is the photograph's `backdrop`; `area`: left, top, right, bottom in pixels
        of the photograph.
        """
        if area is None or tuple(area) == (0, 0, *ground.info["size"]):
            return overlay(ground, self._transform.map_on_photograph(values, ground.size), opacity)
        left, top, right, bottom = scaled(area, ground)
        heat = Image.new("L", ground.size)
        part = self._transform.map_on_photograph(values, (right - left, bottom - top))
        heat.paste(faded(part, area, ground.info["size"]), (left, top))
        return overlay(ground, heat, opacity)

    def predict_and_map(self, image: Source, classes: int, box: Sequence[int] | None = None) -> tuple[Prediction, Maps]:
        """The prediction, and the maps of the `classes` most probable labels of each attribute, from one run.

        Maps are (labels, h, w) float32 in [0, 1], by attribute name and best label first; they cover the letterboxed
        input. `box` and errors as in `predict_and_explain`.
        """
        photograph = open_for_network(image) if box is None else open_image(image)
        part = photograph if box is None else part_of(photograph, checked(box, photograph.size))
        return self._predicted_and_mapped(part, classes)

    def _predicted_and_mapped(
        self, photograph: Image.Image, classes: int, group: str | None = None
    ) -> tuple[Prediction, Maps]:
        """`group` is that of the product in the photograph, if it is known; it weighs on the product types."""
        counts = {name: min(classes, count) for name, count in self.config.num_classes.items()}
        predicted: list[Prediction] = []

        def targets(pooled: torch.Tensor) -> list[Target]:
            predicted.append(self._with_types_of(group, self._predictions(pooled)[0]))
            ranked = {name: np.argsort(-p.probabilities, kind="stable") for name, p in predicted[0].attributes.items()}
            return [Target(name, int(index)) for name, count in counts.items() for index in ranked[name][:count]]

        maps = iter(self._explain(photograph, targets).maps)
        return predicted[0], {name: np.stack(list(islice(maps, n))) for name, n in counts.items() if n}

    def _with_types_of(self, group: str | None, prediction: Prediction) -> Prediction:
        """Types of other groups are less probable by the finder's `type_weight`."""
        if group is None:
            return prediction
        assert self.finder
        config, types = self.finder.config, prediction[PRODUCT_TYPE]
        weighted = types.probabilities * np.array(config.type_weights(group, types.labels), np.float32)
        if not weighted.any():
            return prediction
        changed = AttributePrediction(types.labels, weighted / weighted.sum())
        return dataclasses.replace(prediction, attributes={**prediction.attributes, PRODUCT_TYPE: changed})

    def _served(self, trained: Finder) -> Finder:
        """The finder on the backbone that is served."""
        assert self.config.finder
        finder = Finder(self.backbone, self.config.finder)
        finder.backbone.own = copy.deepcopy(trained.backbone.own)  # with batch norms, which are folded in the backbone
        finder.load_state_dict(trained.state_dict())
        finder.eval().requires_grad_(False).to(self._device)
        if self.backbone.engine:  # or else a line on standard error has said why not
            finder.engine = onnx_engine(finder.points, torch.rand(1, 3, 128, 192), any_size=True)
        return finder

    def _batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Inputs (3, H, W) → (B, 3, H, W) on the device."""
        return torch.stack(inputs).to(self._device, memory_format=torch.channels_last)

    def _explain(self, photograph: Image.Image, targets: Any, *how: Any) -> Explained:
        """`targets` and `how` as for `explain`."""
        with isolated(self._device.type):
            return explain(self.model, self._batch([self._transform(photograph)]), targets, *how)

    def _predictions(self, pooled: torch.Tensor) -> list[Prediction]:
        """Pooled features (B, C) → a prediction for each image."""
        with isolated(self._device.type):
            scores = self.model.fashion_scores(pooled)
            probabilities = self.model.calibrate(self.model.heads(pooled), scores)
            arrays = {name: p.cpu().numpy() for name, p in probabilities.items()}
        return [
            Prediction(
                {name: AttributePrediction(self.encoders.labels[name], p[i]) for name, p in arrays.items()},
                fashion_score=score,
                fashion_threshold=self.config.fashion_threshold,
                words=self.encoders.words,
            )
            for i, score in enumerate(scores.tolist())
        ]


def checked(box: Sequence[int], size: tuple[int, int]) -> Box:
    """ValueError unless it is left, top, right, bottom in a photograph of `size`, and not smaller than MIN_SIDE."""
    whole = len(box) == 4 and all(type(side) is int for side in box)
    if whole and 0 <= box[0] <= box[2] - MIN_SIDE and 0 <= box[1] <= box[3] - MIN_SIDE:
        left, top, right, bottom = box
        if right <= size[0] and bottom <= size[1]:
            return left, top, right, bottom
    raise ValueError(
        f"a box is left, top, right and bottom in pixels of the photograph, which has {size[0]}×{size[1]}, "
        f"and at least {MIN_SIDE} pixels wide and high; it is {box!r}"
    )


def area_of(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def part_of(photograph: Image.Image, box: Sequence[int]) -> Image.Image:
    """What is in a box, with a margin."""
    return photograph.crop(scaled(with_margin(box, photograph.info["size"]), photograph))


def scaled(area: Sequence[int], photograph: Image.Image) -> Box:
    """The area in pixels of `photograph`, which may be smaller than its own size: the area's."""
    scale = photograph.width / photograph.info["size"][0]
    left, top, right, bottom = (round(x * scale) for x in area)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def with_margin(box: Sequence[int], size: tuple[int, int]) -> Box:
    """The box, larger by CROP_MARGIN on each side as far as the photograph of `size` goes."""
    left, top, right, bottom = box
    x, y = round(CROP_MARGIN * (right - left)), round(CROP_MARGIN * (bottom - top))
    return max(0, left - x), max(0, top - y), min(size[0], right + x), min(size[1], bottom + y)


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The result of `work` for each item, in order; `workers` threads work ahead by as many items as they are."""
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # the caller may have closed this generator


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    if size < 1:
        raise ValueError(f"the batch size must be at least 1; it is {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
