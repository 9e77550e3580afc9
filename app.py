"""The Space: photographs of fashion products in, four labels each and a Grad-CAM overlay out.

    python app.py

serves on http://127.0.0.1:7860. FASHION_MODEL names the checkpoint: a directory, `user/repo` or `user/repo@revision`
on the Hub; unset, the embedded default. FASHION_MODEL_TIMEOUT is how many seconds to wait for a Hub that sends nothing;
then, or if what it has cannot be used, the embedded default serves, and page and log say so.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from fashion_model import CheckpointError, FashionClassifier, HubCheckpointError, ImageError, Prediction
from fashion_model.attributes import ATTRIBUTES, NAMES, attribute_named
from fashion_model.classifier import batches
from fashion_model.explain import OPACITY
from fashion_model.explain import overlay as lay_over
from fashion_model.hub import DEFAULT_TIMEOUT
from fashion_model.report import framed
from fashion_model.rows import FIELDS, Row, csv_of, row_of
from fashion_model.uploads import MAX_BYTES, MAX_PHOTOGRAPHS, UploadError, caption, label, photographs, refuse_large

TITLE = "Fashion Product Classifier"
EXAMPLES = sorted(
    (Path(__file__).parent / "fashion_model" / "examples").glob("*.jpg"),
    key=lambda path: (path.stem.isdigit(), path.name),  # the catalogue's, called after their ids, come last
)
DEFAULT_ATTRIBUTE = "product_type"
TOP_CLASSES = 5
HELPS = "One product that fills the picture, on a plain ground, works best."
NOT_FASHION = (
    f"**This does not look like a photograph of a fashion product.** The answers below may mean nothing. {HELPS}"
)
UNSURE = f"**This is hard to tell.** Take the answers below as guesses. {HELPS}"
SURE_ENOUGH = 0.4  # confidence in the product type; below it the page says that it is unsure
MAX_QUEUE = 64
COLUMN_WIDTHS = ["165px", *["105px", "95px", "125px", "95px", "80px", "95px", "80px", "95px"], "170px", "80px"]
MAX_ZIP = 100  # MB
CSS = """
#gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
#gallery .thumbnail-lg { aspect-ratio: 3 / 4; background: white; padding-bottom: 4.6em; font-size: 12px; }
#gallery .thumbnail-lg > img { object-fit: contain; }
#gallery .caption-label { inset: auto 0 0; max-width: none; height: 4.6em; font-size: inherit; line-height: 1.3; }
#gallery .caption-label { white-space: normal; text-align: center; }
#table th { font-size: var(--text-sm); }
"""
RAMP = Image.fromarray(np.linspace(0, 255, 16, dtype=np.uint8)[None])  # from cold to hot
LAUNCH = {"max_file_size": f"{MAX_ZIP}mb", "theme": gr.themes.Soft(), "css": CSS, "ssr_mode": False}

Label = dict[str, float]


def received_file(photo: dict[str, Any] | None) -> Path:
    """The uploaded file. Only gradio's upload folder is read: a client can send any path it likes."""
    if not photo:
        raise gr.Error("Please choose a photograph first.", print_exception=False)
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()):
        raise gr.Error("The photograph has to be uploaded.", print_exception=False)
    return Path(path)


def received_files(files: list[dict[str, Any]] | None) -> list[tuple[str, Path]]:
    """The uploaded files under the names that they had."""
    if not files:
        raise gr.Error("Please choose photographs or a zip first.", print_exception=False)
    paths = [received_file(file) for file in files]
    return [(file.get("orig_name") or path.name, path) for file, path in zip(files, paths, strict=True)]


def analyse(
    classifier: FashionClassifier, photo: dict[str, Any] | None, attribute: str, opacity: float
) -> tuple[Prediction, Image.Image]:
    """The prediction and the overlay for `attribute`; every fault of the input becomes a message on the page."""
    path = received_file(photo)
    try:
        attribute = attribute_named(attribute).name
        refuse_large(path)
        prediction, overlays = classifier.predict_and_explain(path, [attribute], opacity=opacity)
    except ImageError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except ValueError as error:
        raise gr.Error(f"{error}.", print_exception=False) from error
    return prediction, overlays[attribute]


def load_classifier() -> tuple[FashionClassifier, str]:
    """What FASHION_MODEL names, or the embedded default; and a sentence, if that is not what was asked for.

    CheckpointError if it names a directory that cannot be used, or nothing that could be there.
    """
    source = os.environ.get("FASHION_MODEL") or None
    try:
        return FashionClassifier.from_pretrained(source, timeout=hub_timeout()), ""
    except HubCheckpointError as error:
        return FashionClassifier.from_pretrained(), f"{error}. The embedded default answers instead."


def hub_timeout() -> float:
    """Seconds."""
    text = os.environ.get("FASHION_MODEL_TIMEOUT") or str(DEFAULT_TIMEOUT)
    wrong = CheckpointError(f"FASHION_MODEL_TIMEOUT has to be a number of seconds; it is {text!r}")
    try:
        seconds = float(text)
    except ValueError as error:
        raise wrong from error
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise wrong
    return seconds


def analyse_all(
    classifier: FashionClassifier, files: list[dict[str, Any]] | None, progress: gr.Progress
) -> tuple[list[Row], list[tuple[Image.Image, str]]]:
    """A row for each photograph, and a thumbnail with its caption for each that could be read."""
    rows, shown = [], []
    try:
        with photographs(received_files(files)) as uploads:
            for upload, result, thumbnail in label(
                classifier, uploads, lambda read: progress((read, len(uploads)), unit="photographs")
            ):
                rows.append(row_of(upload.name, result))
                if thumbnail:
                    shown.append((thumbnail, caption(result)))
    except UploadError as error:
        raise gr.Error(str(error), print_exception=False) from error
    return rows, shown


def build_demo(classifier: FashionClassifier, warning: str = "") -> gr.Blocks:
    """The page around `classifier`, ready to launch; `warning` stands above everything else."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.Markdown(
            f"# {TITLE}\nColor, product type, season of use and target gender of a fashion product, "
            "and where the network looked."
        )
        gr.Markdown(f"**{warning}**", visible=bool(warning), elem_id="warning")
        with gr.Tab("One photograph", elem_id="one"):
            one_photograph(classifier)
        with gr.Tab("Many photographs", elem_id="many"):
            many_photographs(classifier)
        if classifier.report:
            with gr.Tab("Report", elem_id="report") as tab:
                report_of(classifier.report, tab)
        gr.Markdown(
            f"Checkpoint: **{classifier.name}** ({classifier.config.backbone}, "
            f"{classifier.config.image_size[0]}×{classifier.config.image_size[1]})",
            elem_id="checkpoint",
        )
    return demo.queue(max_size=MAX_QUEUE)


def one_photograph(classifier: FashionClassifier) -> None:
    """The first tab: layout, then wiring."""

    def predict(
        photo: dict[str, Any] | None, attribute: str, opacity: float
    ) -> tuple[Label, Label, Label, Label, Image.Image, str]:
        """Color, product type, season of use and target gender of the product, where the network looked, and a notice.

        The notice is empty unless the photograph does not look like one of a fashion product, or answers are unsure.
        """
        prediction, overlay = analyse(classifier, photo, attribute, opacity)
        labels = [dict(prediction[name].top(len(prediction[name].labels))) for name in NAMES]
        return *labels[:4], overlay, *labels[4:], notice_on(prediction)  # clients rely on the places of the first five

    def explain(photo: dict[str, Any] | None, attribute: str, opacity: float) -> Any:
        """Another attribute or opacity was chosen; without a photograph there is nothing to show yet."""
        return analyse(classifier, photo, attribute, opacity)[1] if photo else gr.skip()

    with gr.Row():
        with gr.Column(scale=3):
            photo = gr.Image(
                label="Photograph",
                type="filepath",
                image_mode=None,
                height=420,
                elem_id="photo",
                sources=["upload", "clipboard"],
            )
            button = gr.Button("Classify", variant="primary", elem_id="classify")
            examples = gr.Examples(
                [str(path) for path in EXAMPLES],
                photo,
                cache_examples=False,
                examples_per_page=len(EXAMPLES),
                api_visibility="private",
                elem_id="examples",
            )
        with gr.Column(scale=4):
            notice = gr.Markdown("", elem_id="notice")
            labels = []
            for pair in batches(ATTRIBUTES, 2):
                with gr.Row():
                    labels += [gr.Label(label=a.title, num_top_classes=TOP_CLASSES, elem_id=a.name) for a in pair]
        with gr.Column(scale=3):
            attribute = gr.Radio(
                [(a.title, a.name) for a in ATTRIBUTES],
                value=DEFAULT_ATTRIBUTE,
                label="Show where the network looked for",
                elem_id="attribute",
            )
            overlay = gr.Image(
                label="Where the network looked",
                type="pil",
                format="jpeg",
                height=420,
                interactive=False,
                elem_id="overlay",
            )
            colors = gr.HTML(legend(OPACITY), elem_id="legend")
            opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of the colors", elem_id="opacity")

    outputs = [*labels[:4], overlay, *labels[4:], notice]
    # preprocess=False: gradio would open the file itself, and fail before our messages.
    asked = {"inputs": [photo, attribute, opacity], "preprocess": False}
    quietly = {**asked, "api_visibility": "private", "show_progress": "minimal"}
    button.click(fn=predict, outputs=outputs, api_name="predict", **asked)
    photo.upload(fn=predict, outputs=outputs, **quietly)
    examples.load_input_event.then(fn=predict, outputs=outputs, **quietly)
    attribute.input(fn=explain, outputs=overlay, **quietly)
    opacity.change(fn=explain, outputs=overlay, trigger_mode="always_last", **quietly)
    opacity.change(fn=legend, inputs=opacity, outputs=colors, api_visibility="private", show_progress="hidden")
    photo.clear(fn=lambda: [None] * len(outputs), inputs=None, outputs=outputs, api_visibility="private")


def notice_on(prediction: Prediction) -> str:
    """What has to be said before the answers are read; empty for most photographs of fashion products."""
    if not prediction.is_fashion:
        return NOT_FASHION
    return UNSURE if prediction.product_type.confidence < SURE_ENOUGH else ""


def legend(opacity: float) -> str:
    """What the colors of an overlay of this opacity mean, as HTML."""
    colors = lay_over(Image.new("RGB", RAMP.size, "gray"), RAMP, opacity)
    stops = ", ".join(f"rgb{colors.getpixel((x, 0))}" for x in range(colors.width))
    return (
        '<div style="display: flex; gap: 0.7em; align-items: center; font-size: var(--text-sm)">little'
        f'<div style="flex: 1; height: 0.8em; border-radius: 4px; background: linear-gradient(to right, {stops})">'
        "</div>most of the evidence</div>"
    )


def many_photographs(classifier: FashionClassifier) -> None:
    """The second tab."""

    def predict_batch(
        files: list[dict[str, Any]] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio hands it over)
    ) -> tuple[list[list[Any]], list[tuple[Image.Image, str]], str, str]:
        """Photographs, or zips of them, and for all of them a table, thumbnails with captions, the CSV file, a summary.

        A file that is no photograph is a row with its error, and has no thumbnail.
        """
        rows, shown = analyse_all(classifier, files, progress)
        file = save_bytes_to_cache(csv_of(rows).encode(), "predictions.csv", get_upload_folder())
        summary = f"{len(shown)} of {len(rows)} files could be read."
        return [list(row.values()) for row in rows], shown, file, summary

    with gr.Row():
        with gr.Column(scale=3):
            files = gr.File(
                label="Photographs or zips",
                file_count="multiple",
                file_types=["image", ".zip"],
                height=300,
                elem_id="files",
            )
            gr.Markdown(
                f"At most {MAX_PHOTOGRAPHS} photographs of up to {MAX_BYTES // 2**20} MB; a zip up to {MAX_ZIP} MB."
            )
            button = gr.Button("Classify all", variant="primary", elem_id="classify-all")
            summary = gr.Markdown("", elem_id="summary")
            download = gr.DownloadButton("Download CSV", interactive=False, elem_id="download")
        with gr.Column(scale=7):
            gallery = gr.Gallery(show_label=False, format="jpeg", height=480, interactive=False, elem_id="gallery")
    table = gr.Dataframe(
        headers=[field.replace("_", " ") for field in FIELDS],
        column_widths=COLUMN_WIDTHS,
        wrap=True,
        max_height=480,
        interactive=False,
        elem_id="table",
    )

    outputs = [table, gallery, download, summary]
    asked = button.click(
        fn=predict_batch,
        inputs=files,
        outputs=outputs,
        preprocess=False,
        api_name="predict_batch",
        show_progress_on=gallery,
    )
    asked.success(fn=lambda: gr.update(interactive=True), outputs=download, api_visibility="private")
    empty = (None, None, gr.update(value=None, interactive=False), "")
    files.clear(fn=lambda: empty, outputs=outputs, api_visibility="private")


def report_of(report: Path, tab: gr.Tab) -> None:
    """The third tab: what fails, and how often. Read and sent once someone opens it, as it has megabytes."""
    frame = gr.HTML()
    tab.select(fn=lambda: framed(report), inputs=None, outputs=frame, api_visibility="private")


def main() -> None:
    try:
        classifier, warning = load_classifier()
    except CheckpointError as error:
        sys.exit(f"app: {error}")
    if warning:
        print(f"app: {warning}", file=sys.stderr, flush=True)
    build_demo(classifier, warning).launch(**LAUNCH)


if __name__ == "__main__":
    main()
