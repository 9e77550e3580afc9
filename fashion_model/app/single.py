"""The tab for one photograph: layout, then wiring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from fashion_model.app.handlers import MAIN_ATTRIBUTE, File, analyse, notice_on
from fashion_model.classifier import FashionClassifier, batches
from fashion_model.explain.overlay import OPACITY
from fashion_model.explain.overlay import overlay as draw_overlay

EXAMPLES = sorted(
    (Path(__file__).parents[1] / "examples").glob("*.jpg"),
    key=lambda path: (path.stem.isdigit(), path.name),  # those of the catalogue, named by their ids, come last
)
TOP_CLASSES = 5
# Clients rely on the order of /predict's first outputs: these attributes, then the overlay.
FIRST_OUTPUTS = ("color", "product_type", "season", "gender")
RAMP = Image.fromarray(np.linspace(0, 255, 16, dtype=np.uint8)[None])  # map values from low to high

Label = dict[str, float]


def single_tab(classifier: FashionClassifier) -> None:
    attributes = classifier.attributes
    names = [attribute.name for attribute in attributes]
    in_output = [name for name in FIRST_OUTPUTS if name in names]
    others = [name for name in names if name not in in_output]

    def predict(photo: File | None, attribute: str, opacity: float) -> tuple[Label | Image.Image | str, ...]:
        """The classes of color, product type, season and gender with their probabilities, the overlay for `attribute`,
        the classes of any other attributes, and a notice.

        The notice is empty unless the photograph does not look like a fashion product or the answers are uncertain.
        """
        prediction, overlay = analyse(classifier, photo, attribute, opacity)
        labels = {name: dict(prediction[name].top(len(prediction[name].labels))) for name in names}
        return *(labels[n] for n in in_output), overlay, *(labels[n] for n in others), notice_on(prediction)

    def explain(photo: File | None, attribute: str, opacity: float) -> Any:
        """The overlay for another attribute or opacity."""
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
            labels = {}
            for pair in batches(attributes, 2):
                with gr.Row():
                    for a in pair:
                        labels[a.name] = gr.Label(label=a.title, num_top_classes=TOP_CLASSES, elem_id=a.name)
        with gr.Column(scale=3):
            attribute = gr.Radio(
                [(a.title, a.name) for a in attributes],
                value=MAIN_ATTRIBUTE if MAIN_ATTRIBUTE in names else names[0],
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

    outputs = [*(labels[name] for name in in_output), overlay, *(labels[name] for name in others), notice]
    # preprocess=False: gradio would open the file itself and fail before our messages.
    asked = {"inputs": [photo, attribute, opacity], "preprocess": False}
    quietly = {**asked, "api_visibility": "private", "show_progress": "minimal"}
    button.click(fn=predict, outputs=outputs, api_name="predict", **asked)
    photo.upload(fn=predict, outputs=outputs, **quietly)
    examples.load_input_event.then(fn=predict, outputs=outputs, **quietly)
    attribute.input(fn=explain, outputs=overlay, **quietly)
    opacity.change(fn=explain, outputs=overlay, trigger_mode="always_last", **quietly)
    opacity.change(fn=legend, inputs=opacity, outputs=colors, api_visibility="private", show_progress="hidden")
    photo.clear(fn=lambda: [None] * len(outputs), inputs=None, outputs=outputs, api_visibility="private")


def legend(opacity: float) -> str:
    """HTML: the color scale of an overlay with this opacity."""
    colors = draw_overlay(Image.new("RGB", RAMP.size, "gray"), RAMP, opacity)
    stops = ", ".join(f"rgb{colors.getpixel((x, 0))}" for x in range(colors.width))
    return (
        '<div style="display: flex; gap: 0.7em; align-items: center; font-size: var(--text-sm)">little'
        f'<div style="flex: 1; height: 0.8em; border-radius: 4px; background: linear-gradient(to right, {stops})">'
        "</div>most of the evidence</div>"
    )
