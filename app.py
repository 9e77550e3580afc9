"""The Space: a photograph of a fashion product in, four labels and a Grad-CAM overlay out.

    python app.py

serves on http://127.0.0.1:7860. FASHION_MODEL names the checkpoint: a directory, `user/repo` or `user/repo@revision`
on the Hub; unset, the embedded default. FASHION_MODEL_TIMEOUT is how many seconds to wait for a Hub that sends nothing;
then, or if what it has cannot be used, the embedded default serves, and page and log say so.
"""

from __future__ import annotations

import html
import os
import sys
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from fashion_model import CheckpointError, FashionClassifier, HubCheckpointError, ImageError, Prediction
from fashion_model.attributes import ATTRIBUTES, NAMES, attribute_named
from fashion_model.classifier import batches
from fashion_model.hub import DEFAULT_TIMEOUT

TITLE = "Fashion Product Classifier"
EXAMPLES = sorted((Path(__file__).parent / "fashion_model" / "examples").glob("*.jpg"))
DEFAULT_ATTRIBUTE = "product_type"
TOP_CLASSES = 5
NOT_FASHION = "**This does not look like a photograph of a fashion product.** The answers below may mean nothing."
MAX_QUEUE = 64
MAX_REPORT = 8_000_000  # bytes
# A report comes from whoever made the checkpoint. The empty sandbox keeps scripts, forms, windows and this page from
# it, the policy whatever it does not hold itself; <base> makes its links to its own parts work.
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
REPORT_HEAD = (
    f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{REPORT_POLICY}"><base href="about:srcdoc">'
)
LAUNCH = {"max_file_size": "10mb", "theme": gr.themes.Soft(), "ssr_mode": False}

Label = dict[str, float]


def received_file(photo: dict[str, Any] | None) -> Path:
    """The uploaded file. Only gradio's upload folder is read: a client can send any path it likes."""
    if not photo:
        raise gr.Error("Please choose a photograph first.", print_exception=False)
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()):
        raise gr.Error("The photograph has to be uploaded.", print_exception=False)
    return Path(path)


def analyse(
    classifier: FashionClassifier, photo: dict[str, Any] | None, attribute: str
) -> tuple[Prediction, Image.Image]:
    """The prediction and the overlay for `attribute`; every fault of the input becomes a message on the page."""
    path = received_file(photo)
    try:
        attribute = attribute_named(attribute).name
        prediction, overlays = classifier.predict_and_explain(path, [attribute])
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
    try:
        return float(text)
    except ValueError as error:
        raise CheckpointError(f"FASHION_MODEL_TIMEOUT has to be a number of seconds; it is {text!r}") from error


def report_frame(report: Path) -> str:
    """The report of a checkpoint as HTML for this page."""
    if report.stat().st_size > MAX_REPORT:
        return f"The report is larger than {MAX_REPORT:,} bytes; open {html.escape(report.name)} in a browser."
    page = REPORT_HEAD + report.read_text(encoding="utf-8", errors="replace")
    style = "width: 100%; height: 80vh; border: 0; background: white"
    return f'<iframe title="Report" sandbox="" srcdoc="{html.escape(page)}" style="{style}"></iframe>'


def add_report(report: Path) -> None:
    """The place for the report. It is read and sent once someone opens it: a page of megabytes."""
    with gr.Accordion("Report: where this checkpoint fails", open=False, elem_id="report") as place:
        frame = gr.HTML()
    place.expand(fn=lambda: report_frame(report), inputs=None, outputs=frame, api_visibility="private")


def build_demo(classifier: FashionClassifier, warning: str = "") -> gr.Blocks:
    """The page around `classifier`, ready to launch; `warning` stands above everything else."""

    def predict(photo: dict[str, Any] | None, attribute: str) -> tuple[Label, Label, Label, Label, Image.Image, str]:
        """Color, product type, season of use and target gender of the product, where the network looked, and a notice.

        The notice is empty unless the photograph does not look like one of a fashion product.
        """
        prediction, overlay = analyse(classifier, photo, attribute)
        labels = [dict(prediction[name].top(len(prediction[name].labels))) for name in NAMES]
        notice = "" if prediction.is_fashion else NOT_FASHION
        return *labels[:4], overlay, *labels[4:], notice  # clients rely on the places of the first five

    def explain(photo: dict[str, Any] | None, attribute: str) -> Any:
        """Another attribute was chosen; without a photograph there is nothing to show yet."""
        return analyse(classifier, photo, attribute)[1] if photo else gr.skip()

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.Markdown(
            f"# {TITLE}\nColor, product type, season of use and target gender of a fashion product, "
            "and where the network looked."
        )
        gr.Markdown(f"**{warning}**", visible=bool(warning), elem_id="warning")
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
                    label="Grad-CAM", type="pil", format="jpeg", height=420, interactive=False, elem_id="overlay"
                )
        gr.Markdown(
            f"Checkpoint: **{classifier.name}** ({classifier.config.backbone}, "
            f"{classifier.config.image_size[0]}×{classifier.config.image_size[1]})",
            elem_id="checkpoint",
        )
        if classifier.report:
            add_report(classifier.report)

        outputs = [*labels[:4], overlay, *labels[4:], notice]
        # preprocess=False: gradio would open the file itself, and fail before our messages.
        asked = {"inputs": [photo, attribute], "preprocess": False}
        quietly = {**asked, "api_visibility": "private", "show_progress": "minimal"}
        button.click(fn=predict, outputs=outputs, api_name="predict", **asked)
        photo.upload(fn=predict, outputs=outputs, **quietly)
        examples.load_input_event.then(fn=predict, outputs=outputs, **quietly)
        attribute.input(fn=explain, outputs=overlay, **quietly)
        photo.clear(fn=lambda: [None] * len(outputs), inputs=None, outputs=outputs, api_visibility="private")
    return demo.queue(max_size=MAX_QUEUE)


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
