"""The tab for one photograph: layout, then wiring."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_url_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from fashion_model.app.answer import error_html
from fashion_model.app.examples import EXAMPLES
from fashion_model.app.handlers import (
    ONE_PHOTOGRAPH,
    File,
    answer_for,
    classifier_named,
    name_of,
    read_photograph,
    refused,
)
from fashion_model.app.loading import Models
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE

PROMPT = "Drop a photograph of a fashion product, or tap"
LIMITS = f"JPEG, PNG, WebP or HEIC, up to {MAX_BYTES // 2**20} MB. Paste works too."
NOT_SHOWN_BY_BROWSERS = ("HEIF", "TIFF")
# Events for Python: an example was picked; a photograph was pasted, or taken with a phone's camera, and uploaded.
JS = (
    f"const MAX_BYTES = {MAX_BYTES};"
    + """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('pick', { example: button.dataset.example });
});
const send = async file => {
  if (file.size > MAX_BYTES) return trigger('refuse', {});
  const { path } = await upload(file);
  trigger('send', { path, name: file.name || 'photograph.png' });
};
element.querySelector('input[type=file]').addEventListener('change', event => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = '';
});
// Gradio refuses HEIC where the browser does not know its type, and would upload what is too large.
for (const type of ['change', 'drop']) document.addEventListener(type, event => {
  const file = event.target.closest('#photo') && (event.dataTransfer || event.target).files?.[0];
  if (!file || !(/\\.hei[cf]$/i.test(file.name) || file.size > MAX_BYTES)) return;
  event.preventDefault();
  event.stopPropagation();
  send(file);
}, true);
document.addEventListener('paste', event => {
  const file = [...event.clipboardData.files].find(file => file.type.startsWith('image/'));
  if (file && element.offsetParent !== null) send(file);
});
"""
)


def single_tab(models: Models, model: gr.Dropdown) -> None:
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
            others = gr.HTML(others_html(), js_on_load=JS, elem_id="sources")
            address = gr.Textbox(
                label="Address of an image",
                show_label=False,
                container=False,
                placeholder="or the address of an image",
                submit_btn="Classify",
                elem_id="address",
            )

    def look(photo: File, model: str | None) -> tuple[Any, str]:
        """What the photograph's box shows, nothing if the file is refused; and the answer."""
        try:
            photograph = read_photograph(photo)
            answer = answer_for(classifier_named(models, model), name_of(photo), photograph).to_html()
        except gr.Error as error:
            return None, error_html(error.message)
        return photograph if in_other_format(photo) else photo["path"], answer

    def show(photo: File | None, model: str | None) -> tuple[Any, str]:
        """A photograph that the box shows already."""
        if not photo:
            return gr.skip(), ""
        shown, answer = look(photo, model)
        return shown if isinstance(shown, Image.Image) else gr.skip(), answer

    def pick(event: gr.EventData, model: str | None) -> tuple[Any, str]:
        """An example."""
        example = EXAMPLES.get(str(event._data.get("example")))
        if not example:
            return gr.skip(), error_html("There is no such example.")
        with Image.open(example.path) as photograph:
            photograph.load()
        return str(example.path), answer_for(
            classifier_named(models, model), example.path.name, photograph.convert("RGB")
        ).to_html()

    def send(event: gr.EventData, model: str | None) -> tuple[Any, str]:
        """A photograph that was pasted or taken, and uploaded already."""
        return look({"path": event._data.get("path"), "orig_name": event._data.get("name")}, model)

    def fetch(address: str, model: str | None) -> tuple[Any, str]:
        """A photograph on the web."""
        try:
            path = fetched(address)
        except gr.Error as error:
            return None, error_html(error.message)
        return look({"path": path, "orig_name": Path(path).name}, model)

    asked = {"outputs": [photo, answer], "api_visibility": "private", "show_progress_on": answer} | ONE_PHOTOGRAPH
    gr.on([photo.upload, photo.input], fn=show, inputs=[photo, model], preprocess=False, **asked)
    others.pick(fn=pick, inputs=model, **asked)
    others.send(fn=send, inputs=model, **asked)
    others.refuse(fn=lambda: (None, error_html(TOO_LARGE)), outputs=[photo, answer], api_visibility="private")
    address.submit(fn=fetch, inputs=[address, model], **asked)
    model.input(fn=show, inputs=[photo, model], preprocess=False, **asked)
    photo.clear(fn=lambda: "", outputs=answer, api_visibility="private", show_progress="hidden")


def in_other_format(photo: File) -> bool:
    """Whether browsers don't show the file. It can be read."""
    with Image.open(photo["path"]) as image:
        return image.format in NOT_SHOWN_BY_BROWSERS


def fetched(address: str) -> str:
    """Download an image into gradio's upload folder. Gradio refuses private addresses, also after redirects."""
    if not address.startswith(("http://", "https://")):
        raise refused("The address has to begin with http:// or https://.")
    try:
        return save_url_to_cache(address, get_upload_folder())
    except Exception as error:  # the library raises bare Exceptions, and those of its HTTP client
        raise refused("Nothing could be downloaded from this address.") from error


def others_html() -> str:
    """Other ways to a photograph: the camera of a phone, and examples."""
    examples = "".join(
        f'<button data-example="{name}"><img src="examples/{name}" alt="{html.escape(example.text)}" loading="lazy">'
        "</button>"
        for name, example in EXAMPLES.items()
    )
    return (
        f'<p class="limits">{LIMITS}</p>'
        '<label class="camera">Take a photograph<input type="file" accept="image/*" capture="environment"></label>'
        f'<div class="examples" role="group" aria-label="Examples">{examples}</div>'
    )
