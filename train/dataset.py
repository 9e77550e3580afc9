"""The cleaned table and its decoded photographs."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm import tqdm

from data_prep import TABLE
from fashion_model.attributes import ATTRIBUTES, LabelEncoders
from fashion_model.images import ImageError, open_image
from fashion_model.transforms import Transform


class DataError(ValueError):
    """A table or photograph to train or measure on is missing or unusable; the message names it."""


def read_table(data: Path) -> pd.DataFrame:
    """`data`/cleaned_styles.csv, every value as text but `id` and `group`."""
    path = data / TABLE
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m data_prep.clean_data --output {data}` writes it")
    return pd.read_csv(path, dtype=str, keep_default_na=False).astype({"id": int, "group": int})


def rows_of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """DataError if the split has no rows."""
    rows = table[table["split"] == split]
    if rows.empty:
        raise DataError(f"the table has no rows in split {split!r}; it has {sorted(set(table['split']))}")
    return rows


def read_photographs(data: Path, rows: pd.DataFrame) -> DecodedPhotographs:
    """The photographs of `rows`, in their order."""
    return DecodedPhotographs([data / "images" / f"{product}.jpg" for product in rows["id"]], data / "decoded")


class Photographs(Protocol):
    """A sequence of RGB photographs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image.Image: ...


class DecodedPhotographs:
    """A sequence of RGB photographs, decoded once into one flat file of uint8 pixels that the system keeps in memory.

    A cache belongs to the list of files, their sizes and their times; other files get a cache of their own.
    """

    def __init__(self, paths: list[Path], cache: Path):
        key = hashlib.sha256()
        for path in paths:
            try:
                status = path.stat()
            except FileNotFoundError as error:
                raise DataError(f"{path} is missing; data_prep has to write it again") from error
            key.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        stem = cache / key.hexdigest()[:16]
        self._pixel_file, shape_file = stem.with_suffix(".pixels"), stem.with_suffix(".shapes.npy")
        if not shape_file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            _decode(paths, self._pixel_file, shape_file)
        self._shapes = np.load(shape_file)  # (N, 2): height, width
        self._ends = np.cumsum(self._shapes.prod(axis=1) * 3)
        self._pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> Image.Image:
        if self._pixels is None:  # opened on first use, so that each worker process maps the file itself
            self._pixels = np.memmap(self._pixel_file, dtype=np.uint8, mode="r")
        height, width = self._shapes[index]
        end = self._ends[index]
        return Image.fromarray(self._pixels[end - height * width * 3 : end].reshape(height, width, 3))


def _decode(paths: list[Path], pixel_file: Path, shape_file: Path) -> None:
    shapes = np.zeros((len(paths), 2), dtype=np.int64)
    unfinished = pixel_file.with_suffix(f".{os.getpid()}.unfinished")
    with unfinished.open("wb") as file:
        for i, path in enumerate(tqdm(paths, desc="decoding", unit="image", disable=None)):
            try:
                pixels = np.asarray(open_image(path))
            except ImageError as error:
                raise DataError(f"{path}: {error}") from error
            shapes[i] = pixels.shape[:2]
            file.write(pixels.tobytes())
    unfinished.replace(pixel_file)
    with unfinished.open("wb") as file:
        np.save(file, shapes)
    unfinished.replace(shape_file)


def repeat_factors(targets: torch.Tensor, share: float) -> torch.Tensor:
    """How often to show each row in an epoch, (N,) at least 1: targets (N, attributes).

    The square root of `share` over the share of the row's rarest label (LVIS, Gupta et al., CVPR 2019).
    """
    factors = torch.ones(len(targets))
    for column in targets.T:
        _, position, counts = column.unique(return_inverse=True, return_counts=True)
        factors = torch.maximum(factors, (share * len(targets) / counts[position]).sqrt())
    return factors


def draw_epoch(factors: torch.Tensor, generator: torch.Generator) -> list[int]:
    """Row numbers in random order, each row as often as its factor says, rounded at random: systematic sampling."""
    ends = factors.double().cumsum(0)
    size = math.ceil(ends[-1].item())
    points = (torch.arange(size) + torch.rand((), generator=generator)) * (ends[-1] / size)
    rows = torch.searchsorted(ends, points, right=True).clamp(max=len(factors) - 1)
    return rows[torch.randperm(size, generator=generator)].tolist()


class ProductDataset(Dataset):
    """(transformed photograph (3, H, W), class indices (4,)) in the order of the attributes; the error for a photograph
    that cannot be read."""

    def __init__(self, photographs: Photographs, targets: torch.Tensor, transform: Transform):
        self.photographs, self.targets, self.transform = photographs, targets, transform

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | DataError:
        try:
            return self.transform(self.photographs[index]), self.targets[index]
        except DataError as error:
            return DataError(str(error))


def encode_targets(rows: pd.DataFrame, encoders: LabelEncoders) -> torch.Tensor:
    """Class indices (N, 4) int64; -1 for a label that the encoders do not know."""
    columns = []
    for attribute in ATTRIBUTES:
        index = {label: i for i, label in enumerate(encoders.labels[attribute.name])}
        columns.append([index.get(label, -1) for label in rows[attribute.column]])
    return torch.tensor(columns).T.contiguous()


class EvaluationLoader(DataLoader):
    """Raises the DataError of a photograph here: from a worker process it would come with a traceback for a message."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in super().__iter__():
            if isinstance(batch, DataError):
                raise batch
            yield batch


def _batch_or_error(items: list[tuple[torch.Tensor, torch.Tensor] | DataError]) -> Any:
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def evaluation_loader(
    photographs: Photographs,
    targets: torch.Tensor,
    transform: Transform,
    batch_size: int = 128,
    workers: int = 1,
) -> EvaluationLoader:
    """Batches in the order of the photographs."""
    dataset = ProductDataset(photographs, targets, transform)
    return EvaluationLoader(dataset, batch_size, num_workers=workers, collate_fn=_batch_or_error)
