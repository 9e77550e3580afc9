"""Photographs that visitors and clients send: every fault of an upload becomes a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from fashion_model.app.answer import Answer
from fashion_model.app.disk import folder
from fashion_model.app.gradio_private import refused
from fashion_model.app.result import SHOWN_CLASSES
from fashion_model.app.uploads import open_photograph, photographs, refuse_large
from fashion_model.classifier import WORKERS, FashionClassifier
from fashion_model.images import ImageError
from fashion_model.predictions import Prediction

MAX_SECONDS = 180  # of one batch
TOO_LONG = f"The photographs took more than {MAX_SECONDS // 60} minutes; please send the rest again."
THUMBNAIL = (240, 240)  # pixels

File = dict[str, Any]  # gradio's FileData as JSON
# Settings of events that run the network for one photograph: so many are answered at the same time, others wait.
# While one decodes, draws and writes, the other computes; the network is no faster in batches.
ONE_PHOTOGRAPH: dict[str, Any] = {"concurrency_id": "photograph", "concurrency_limit": WORKERS}


@dataclass(frozen=True)
class Example:
    path: Path
    text: str  # what it shows


_TEXTS = {
    "phone-1-black-shoes.jpg": "Black shoes on a floor",
    "phone-2-green-dress.jpg": "A green dress",
    "phone-3-checked-shirt.jpg": "A checked shirt",
    "phone-4-small-trousers.jpg": "A baby's trousers",
    "phone-5-dark-shoes.jpg": "Dark shoes on their carton",
    "phone-6-carton.jpg": "A carton of milk",
    "2221.jpg": "A dark blue backpack",
    "2250.jpg": "Red flip flops",
    "2315.jpg": "A pink T-shirt",
    "2498.jpg": "A black canvas shoe",
    "2650.jpg": "A brown handbag",
    "2697.jpg": "A turquoise children's dress",
}
EXAMPLES = {name: Example(Path(__file__).parents[1] / "examples" / name, text) for name, text in _TEXTS.items()}


def received_file(photo: File | None) -> Path:
    """The path of an uploaded file. Clients can send any path; only those in the folder of uploads are accepted."""
    if not photo:
        raise refused("Please choose a photograph first.")
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or "\0" in path or not Path(path).resolve().is_relative_to(folder()):
        raise refused("The photograph has to be uploaded.")
    return Path(path)


def received_files(files: list[File] | None) -> list[tuple[str, Path]]:
    """Original name and path of each uploaded file."""
    if not files:
        raise refused("Please choose photographs or a zip first.")
    if not isinstance(files, list):
        raise refused("The photographs have to be a list of uploaded files.")
    return [(name_of(file), path) for file, path in zip(files, map(received_file, files), strict=True)]


def name_of(file: File) -> str:
    """The file's name on the visitor's machine."""
    return str(file.get("orig_name") or Path(file["path"]).name)


def read_photograph(photo: File | None) -> Image.Image:
    """The photograph of an upload, in the detail that the network can use."""
    path = received_file(photo)
    try:
        return open_photograph(path)
    except ImageError as error:
        raise refused(str(error)) from error


def answer_for(classifier: FashionClassifier, name: str, photograph: Image.Image) -> Answer:
    """What the page shows of the upright RGB `photograph`."""
    prediction, maps = classifier.predict_and_map(photograph, SHOWN_CLASSES)
    return Answer(name, classifier, prediction, photograph, maps)


def explained(
    classifier: FashionClassifier, photo: File | None, attribute: str, label: str | None = None, **options: Any
) -> tuple[Prediction, Image.Image]:
    """The prediction and the overlay for a label of `attribute`; `options` as for `FashionClassifier.explain`."""
    path, attribute = received_file(photo), str(attribute)
    labels = {attribute: str(label)} if label else {}
    try:
        refuse_large(path)
        prediction, overlays = classifier.predict_and_explain(path, [attribute], labels, **options)
    except ImageError as error:
        raise refused(str(error)) from error
    except ValueError as error:
        raise refused(f"{error}.") from error
    return prediction, overlays[attribute]


def label_all(
    classifier: FashionClassifier, files: list[File] | None, progress: Callable[[int, int], object]
) -> Iterator[tuple[str, Prediction | ImageError, Image.Image | None]]:
    """Name, result and thumbnail of each photograph among `files` and in their zips, as they come.

    `progress` gets how many have been read, and how many there are.
    """
    thumbnails: dict[int, Image.Image] = {}
    numbers, end = count(1), time.monotonic() + MAX_SECONDS
    with photographs(received_files(files)) as uploads:

        def read(index: int) -> Image.Image:
            try:
                if time.monotonic() > end:
                    raise ImageError(TOO_LONG)
                photograph = uploads[index][1]()
            finally:
                progress(next(numbers), len(uploads))
            thumbnails[index] = photograph.copy()
            thumbnails[index].thumbnail(THUMBNAIL)
            return photograph

        for index, result in classifier.stream(range(len(uploads)), read=read):
            yield uploads[index][0], result, thumbnails.pop(index, None)


def photograph_at(files: list[File] | None, index: int) -> tuple[str, Image.Image]:
    """Name and photograph of one among those of `label_all`."""
    with photographs(received_files(files)) as uploads:
        name, open = uploads[index]
        try:
            return name, open()
        except ImageError as error:
            raise refused(str(error)) from error
