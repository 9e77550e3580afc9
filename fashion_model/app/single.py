"""The tab for one photograph: the functions of its events, then layout and wiring."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from fashion_model.app.answer import error_html
from fashion_model.app.disk import folder
from fashion_model.app.gradio_private import downloaded, refused
from fashion_model.app.handlers import EXAMPLES, ONE_PHOTOGRAPH, File, answer_for, name_of, read_photograph
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.classifier import FashionClassifier

PROMPT = "Drop a photograph of a fashion product, or tap"
LIMITS = f"JPEG, PNG, WebP or HEIC, up to {MAX_BYTES // 2**20} MB. Paste works too."
NOT_SHOWN_BY_BROWSERS = ("HEIF", "TIFF")
STATIC = Path(__file__).parent / "static"


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
        example = EXAMPLES.get(str(field_of(event, "example")))
        if not example:
            return gr.skip(), error_html("There is no such example.")
        with Image.open(example.path) as photograph:
            answer = answer_for(self.classifier, example.path.name, photograph.convert("RGB"))
        return str(example.path), answer.to_html()

    def send(self, event: gr.EventData) -> tuple[Any, str]:
        """A photograph that was pasted or taken, and uploaded already."""
        return self._answer({"path": field_of(event, "path"), "orig_name": field_of(event, "name")})

    def fetch(self, address: str) -> tuple[Any, str]:
        """A photograph on the web."""
        try:
            if not str(address).startswith(("http://", "https://")):
                raise refused("The address has to begin with http:// or https://.")
            path = downloaded(address, folder())
        except gr.Error as error:
            return None, error_html(error.message)
        return self._answer({"path": str(path), "orig_name": path.name})

    def refuse(self) -> tuple[Any, str]:
        """A file that is too large to be uploaded."""
        return None, error_html(TOO_LARGE)

    def _answer(self, photo: File) -> tuple[Any, str]:
        try:
            photograph = read_photograph(photo)
        except gr.Error as error:
            return None, error_html(error.message)
        with Image.open(photo["path"]) as image:
            shown = photograph if image.format in NOT_SHOWN_BY_BROWSERS else photo["path"]
        return shown, answer_for(self.classifier, name_of(photo), photograph).to_html()


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
                sources_html(), js_on_load=(STATIC / "sources.js").read_text(encoding="utf-8"), elem_id="sources"
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


def sources_html() -> str:
    """Other ways to a photograph: the camera of a phone, and examples."""
    examples = "".join(
        f'<button data-example="{name}"><img src="examples/{name}" alt="{html.escape(example.text)}" loading="lazy">'
        "</button>"
        for name, example in EXAMPLES.items()
    )
    return (
        f'<p class="limits" data-max-bytes="{MAX_BYTES}">{LIMITS}</p>'
        '<label class="camera">Take a photograph<input type="file" accept="image/*" capture="environment"></label>'
        f'<div class="examples" role="group" aria-label="Examples">{examples}</div>'
    )
