"""What the page does with uploads: every fault of an upload becomes a message on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from fashion_model.app.uploads import UploadError, caption, label, photographs, refuse_large
from fashion_model.classifier import FashionClassifier
from fashion_model.images import ImageError
from fashion_model.predictions import Prediction
from fashion_model.rows import Row, row_of

HINT = "One product that fills the picture, on a plain background, works best."
NOT_FASHION = (
    f"**This does not look like a photograph of a fashion product.** The answers below may mean nothing. {HINT}"
)
UNSURE = f"**This is hard to tell.** Take the answers below as guesses. {HINT}"
MAIN_ATTRIBUTE = "product_type"  # decides whether the page says that it is unsure, if the checkpoint has it
MIN_CONFIDENCE = 0.4  # in the main attribute; below it the page says that it is unsure

File = dict[str, Any]  # gradio's FileData as JSON


def received_file(photo: File | None) -> Path:
    """The path of an uploaded file. Clients can send any path; only those in gradio's upload folder are accepted."""
    if not photo:
        raise gr.Error("Please choose a photograph first.", print_exception=False)
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()):
        raise gr.Error("The photograph has to be uploaded.", print_exception=False)
    return Path(path)


def received_files(files: list[File] | None) -> list[tuple[str, Path]]:
    """Original name and path of each uploaded file."""
    if not files:
        raise gr.Error("Please choose photographs or a zip first.", print_exception=False)
    if not isinstance(files, list):
        raise gr.Error("The photographs have to be a list of uploaded files.", print_exception=False)
    paths = [received_file(file) for file in files]
    return [(str(file.get("orig_name") or path.name), path) for file, path in zip(files, paths, strict=True)]


def analyse(
    classifier: FashionClassifier, photo: File | None, attribute: str, opacity: float
) -> tuple[Prediction, Image.Image]:
    """The prediction and the overlay for `attribute`."""
    path = received_file(photo)
    try:
        refuse_large(path)
        prediction, overlays = classifier.predict_and_explain(path, [str(attribute)], opacity=opacity)
    except ImageError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except ValueError as error:
        raise gr.Error(f"{error}.", print_exception=False) from error
    return prediction, overlays[str(attribute)]


def analyse_all(
    classifier: FashionClassifier, files: list[File] | None, progress: gr.Progress
) -> tuple[list[Row], list[tuple[Image.Image, str]]]:
    """A row for each photograph, and a thumbnail with its caption for each that could be read."""
    names = [attribute.name for attribute in classifier.attributes]
    rows, shown = [], []
    try:
        with photographs(received_files(files)) as uploads:
            for upload, result, thumbnail in label(
                classifier, uploads, lambda read: progress((read, len(uploads)), unit="photographs")
            ):
                rows.append(row_of(upload.name, result, names))
                if thumbnail:
                    shown.append((thumbnail, caption(result)))
    except UploadError as error:
        raise gr.Error(str(error), print_exception=False) from error
    return rows, shown


def notice_on(prediction: Prediction) -> str:
    """Shown above the answers; empty for most photographs of fashion products."""
    if not prediction.is_fashion:
        return NOT_FASHION
    main = prediction.attributes.get(MAIN_ATTRIBUTE)
    return UNSURE if main and main.confidence < MIN_CONFIDENCE else ""
