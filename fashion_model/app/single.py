"""The tab for one photograph: the functions of its events, then layout and wiring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from fashion_model.app.answer import STATIC, answer_html, error_html, render
from fashion_model.app.disk import folder
from fashion_model.app.gradio_private import downloaded
from fashion_model.app.uploads import MAX_BYTES, ONE_PHOTOGRAPH, TOO_LARGE, File, name_of, read_photograph
from fashion_model.classifier import FashionClassifier, open_for_network
from fashion_model.images import ImageError

PROMPT = "Drop a photograph of a fashion product, or tap"
NOT_SHOWN_BY_BROWSERS = ("HEIF", "TIFF")
EXAMPLES_FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLE_TEXTS = {
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
EXAMPLES = [EXAMPLES_FOLDER / name for name in EXAMPLE_TEXTS]


class SingleEvents:
    """Each event returns what the photograph's box shows, and the answer as HTML; or None and a sentence."""

    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier

    def show(self, photo: File | None) -> tuple[Any, str]:
        """A photograph that the box shows already."""
        if not photo:
            return gr.skip(), ""
        shown, answer = self._answer(photo)
        return shown if shown is None or isinstance(shown, Image.Image) else gr.skip(), answer

    def pick(self, event: gr.EventData) -> tuple[Any, str]:
        """An example."""
        path = EXAMPLES_FOLDER / str(field_of(event, "example"))
        if path not in EXAMPLES:
            return gr.skip(), error_html("There is no such example.")
        return str(path), answer_html(self.classifier, path.name, open_for_network(path))

    def send(self, event: gr.EventData) -> tuple[Any, str]:
        """A photograph that was pasted or taken, and uploaded already."""
        return self._answer({"path": field_of(event, "path"), "orig_name": field_of(event, "name")})

    def fetch(self, address: str) -> tuple[Any, str]:
        """A photograph on the web."""
        try:
            path = downloaded(str(address), folder())
        except ImageError as error:
            return None, error_html(str(error))
        return self._answer({"path": str(path), "orig_name": path.name})

    def refuse(self) -> tuple[Any, str]:
        """A file that is too large to be uploaded."""
        return None, error_html(TOO_LARGE)

    def _answer(self, photo: File) -> tuple[Any, str]:
        try:
            photograph = read_photograph(photo)
        except ImageError as error:
            return None, error_html(str(error))
        with Image.open(photo["path"]) as image:
            shown = photograph if image.format in NOT_SHOWN_BY_BROWSERS else photo["path"]
        return shown, answer_html(self.classifier, name_of(photo), photograph)


def field_of(event: gr.EventData, name: str) -> Any:
    """None where a client's own request lacks the field, or has no fields."""
    try:
        return getattr(event, name)
    except (AttributeError, TypeError):
        return None


def single_tab(classifier: FashionClassifier) -> None:
    with gr.Column(elem_id="visit"):
        photo = gr.Image(
            type="filepath",
            format="jpeg",
            image_mode=None,
            label="Photograph",
            show_label=False,
            placeholder=PROMPT,
            sources=["upload", "webcam"],
            buttons=[],
            elem_id="photo",
        )
        answer = gr.HTML(elem_id="answer")
        with gr.Column(elem_id="others"):
            others = gr.HTML(
                render("sources", examples=EXAMPLE_TEXTS, megabytes=MAX_BYTES // 2**20),
                js_on_load=(STATIC / "sources.js").read_text(encoding="utf-8"),
                elem_id="sources",
            )
            address = gr.Textbox(
                label="Address of an image",
                show_label=False,
                container=False,
                placeholder="or the address of an image",
                submit_btn="Classify",
                elem_id="address",
            )

    events = SingleEvents(classifier)
    private: dict[str, Any] = {"outputs": [photo, answer], "api_visibility": "private", "show_progress_on": answer}
    photograph = private | ONE_PHOTOGRAPH
    gr.on([photo.upload, photo.input], fn=events.show, inputs=photo, preprocess=False, **photograph)
    others.pick(fn=events.pick, **photograph)
    others.send(fn=events.send, **photograph)
    others.refuse(fn=events.refuse, **private)
    address.submit(fn=events.fetch, inputs=address, **photograph)
    photo.clear(fn=lambda: "", outputs=answer, api_visibility="private", show_progress="hidden")
