"""What the page and the API do with uploads: every fault of an upload becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradio.exceptions import Error
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from fashion_model.app.answer import Answer
from fashion_model.app.loading import Models
from fashion_model.app.result import SHOWN_CLASSES, Result
from fashion_model.app.uploads import UploadError, label, photographs, refuse_large
from fashion_model.checkpoint import CheckpointError
from fashion_model.classifier import WORKERS, FashionClassifier, open_for_network
from fashion_model.images import ImageError
from fashion_model.predictions import Prediction

File = dict[str, Any]  # gradio's FileData as JSON
# Settings of events that run the network for one photograph: so many are answered at the same time, others wait.
# While one decodes, draws and writes, the other computes; the network is no faster in batches.
ONE_PHOTOGRAPH: dict[str, Any] = {"concurrency_id": "photograph", "concurrency_limit": WORKERS}


def not_a_tool(fn: Any) -> Any:
    """`fn`, left out of the MCP tools; gradio lists all public endpoints whose function has no other type."""
    fn._mcp_type = "none"
    return fn


def refused(message: str) -> Error:
    return Error(message, print_exception=False)


def received_file(photo: File | None) -> Path:
    """The path of an uploaded file. Clients can send any path; only those in gradio's upload folder are accepted."""
    if not photo:
        raise refused("Please choose a photograph first.")
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()):
        raise refused("The photograph has to be uploaded.")
    return Path(path)


def name_of(file: File) -> str:
    """Its name on the visitor's machine."""
    return str(file.get("orig_name") or Path(file["path"]).name)


def received_files(files: list[File] | None) -> list[tuple[str, Path]]:
    """Original name and path of each uploaded file."""
    if not files:
        raise refused("Please choose photographs or a zip first.")
    if not isinstance(files, list):
        raise refused("The photographs have to be a list of uploaded files.")
    return [(name_of(file), path) for file, path in zip(files, map(received_file, files), strict=True)]


def read_photograph(photo: File | None) -> Image.Image:
    """In the detail that the network can use."""
    path = received_file(photo)
    try:
        refuse_large(path)
        return open_for_network(path)
    except ImageError as error:
        raise refused(str(error)) from error


def answer_for(classifier: FashionClassifier, name: str, photograph: Image.Image) -> Answer:
    """What the page shows of the upright RGB `photograph`."""
    prediction, maps = classifier.predict_and_map(photograph, SHOWN_CLASSES)
    result = Result(name, classifier.name, prediction, classifier.attributes)
    return Answer(result, photograph, maps, classifier.config.preprocessing)


def classified(classifier: FashionClassifier, photo: File | None) -> Result:
    photograph = read_photograph(photo)
    return Result(name_of(photo), classifier.name, classifier.predict([photograph])[0], classifier.attributes)


def explained(
    classifier: FashionClassifier, photo: File | None, attribute: str, label: str | None = None, **options: Any
) -> tuple[Result, Image.Image]:
    """The result and the overlay for a class of `attribute`; `options` as for `FashionClassifier.explain`."""
    path, attribute = received_file(photo), str(attribute)
    labels = {attribute: str(label)} if label else {}
    try:
        refuse_large(path)
        prediction, overlays = classifier.predict_and_explain(path, [attribute], labels, **options)
    except ImageError as error:
        raise refused(str(error)) from error
    except ValueError as error:
        raise refused(f"{error}.") from error
    return Result(name_of(photo), classifier.name, prediction, classifier.attributes), overlays[attribute]


def label_all(
    classifier: FashionClassifier, files: list[File] | None, tick: Callable[[int, int], object]
) -> Iterator[tuple[str, Prediction | ImageError, Image.Image | None]]:
    """Name, result and thumbnail of each photograph among `files` and in their zips, as they come.

    `tick` gets how many have been read, and how many there are.
    """
    try:
        with photographs(received_files(files)) as uploads:
            for upload, result, thumbnail in label(classifier, uploads, lambda read: tick(read, len(uploads))):
                yield upload.name, result, thumbnail
    except UploadError as error:
        raise refused(str(error)) from error


def photograph_at(files: list[File] | None, place: int) -> tuple[str, Image.Image]:
    """Name and photograph of one among those of `label_all`."""
    try:
        with photographs(received_files(files)) as uploads:
            return uploads[place].name, uploads[place].open()
    except (UploadError, ImageError) as error:
        raise refused(str(error)) from error


def classifier_named(models: Models, name: str | None) -> FashionClassifier:
    try:
        return models.get(name)
    except CheckpointError as error:
        raise refused(f"{error}.") from error
