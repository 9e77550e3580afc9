"""The answer as HTML: a sentence, a card for each attribute, and the overlays, all of it without another request.

Clicks, the opacity and the downloads are handled by `static/page.js`, which finds everything by the data attributes.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fashion_model.app.code import curl_code, python_code
from fashion_model.app.result import HINTS, document_of, in_words, is_doubtful, main_attribute, percent, shown
from fashion_model.classifier import FashionClassifier
from fashion_model.explain import OPACITY, PALETTE, backdrop, color_layer
from fashion_model.predictions import Prediction
from fashion_model.preprocessing import Preprocessing

BACKDROP_SIDE = 1000  # pixels of the gray photograph below the overlays
MAP_SIDE = 160  # pixels of a map, which the browser enlarges smoothly
RAMP = ", ".join(f"rgb({r} {g} {b})" for r, g, b in PALETTE[::17])


@dataclass(frozen=True)
class Answer:
    """What the page shows of one photograph."""

    file: str
    classifier: FashionClassifier
    prediction: Prediction
    photograph: Image.Image
    maps: Mapping[str, np.ndarray]  # of the most probable classes: attribute → (classes, h, w) in [0, 1]

    def to_html(self) -> str:
        document = document_of(self.file, self.classifier, self.prediction)
        attributes = self.classifier.attributes
        first = main_attribute([a.name for a in attributes])
        muted = "" if self.prediction.is_fashion else " muted"
        cards = "".join(self._card(a.name, a.title, a.name == first) for a in attributes)
        return (
            f'<div class="answer{muted}" data-result="{html.escape(json.dumps(document))}"'
            f' data-python="{html.escape(python_code(self.file))}"'
            f' data-curl="{html.escape(curl_code(self.file))}">'
            f'<p class="sentence" role="status">{html.escape(document["sentence"])}</p>'
            f'<div class="cards">{cards}</div>{self._overlays(first)}</div>'
        )

    def _card(self, name: str, title: str, pressed: bool) -> str:
        prediction = self.prediction[name]
        buttons = "".join(
            f'<button class="class" data-map="{name}-{rank}" data-label="{html.escape(label)}" data-attribute="{name}"'
            f' aria-pressed="{str(pressed and rank == 0).lower()}" title="Show why">'
            f'<span class="label">{html.escape(label)}</span> '
            f'<span class="share">{f"{in_words(p)}, " if rank == 0 and name not in HINTS else ""}{percent(p)}</span>'
            "</button>"
            for rank, (label, p) in enumerate(shown(prediction))
        )
        hint = f'<p class="hint">A hint: {HINTS[name]}.</p>' if name in HINTS else ""
        doubtful = " doubtful" if is_doubtful(name, prediction) else ""
        return f'<section class="card{doubtful}"><h2>{html.escape(title)}</h2>{buttons}{hint}</section>'

    def _overlays(self, first: str) -> str:
        """The overlays, one of them visible, and what can be done with them."""
        scale = min(1, BACKDROP_SIDE / max(self.photograph.size))
        size = tuple(max(1, round(side * scale)) for side in self.photograph.size)
        gray = backdrop(self.photograph.resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
        preprocessing = self.classifier.config.preprocessing
        layers = "".join(
            f'<img class="map" alt="" src="{_map_url(self.maps[a.name][rank], size, preprocessing)}"'
            f' data-layer="{a.name}-{rank}"{"" if a.name == first and rank == 0 else " hidden"}>'
            for a in self.classifier.attributes
            for rank, _ in enumerate(shown(self.prediction[a.name]))
        )
        label = html.escape(self.prediction[first].label)
        return (
            '<figure class="look">'
            f'<div class="layers" style="--opacity: {OPACITY}; aspect-ratio: {size[0]} / {size[1]}">'
            f'<img class="base" alt="The photograph, colored where the network saw evidence" src="{_jpeg_url(gray)}">'
            f"{layers}</div>"
            f'<figcaption><span>Evidence for <b class="explained">{label}</b></span>'
            f'<span class="legend">little <i style="background: linear-gradient(to right, {RAMP})"></i> most</span>'
            "</figcaption>"
            f'<label class="opacity">Opacity <input type="range" min="0" max="1" step="0.05" value="{OPACITY}"></label>'
            '<div class="take"><button data-take="overlay">Save overlay</button>'
            '<button data-take="result">Save JSON</button><button data-copy="python">Copy as Python</button>'
            '<button data-copy="curl">Copy as curl</button></div>'
            f"<details><summary>Details</summary>{self._details()}</details></figure>"
        )

    def _details(self) -> str:
        prediction = self.prediction
        return (
            f'<p class="score">Fashion score {prediction.fashion_score:.1f}. A photograph counts as one of a fashion '
            f"product from {prediction.fashion_threshold:.1f}.</p><p>Model: {html.escape(self.classifier.name)}</p>"
        )


def error_html(message: str) -> str:
    return f'<div class="answer error"><p class="sentence" role="alert">{html.escape(message)}</p></div>'


def _map_url(values: np.ndarray, size: tuple[int, ...], preprocessing: Preprocessing) -> str:
    scale = min(1, MAP_SIDE / max(size))
    small = tuple(max(1, round(side * scale)) for side in size)
    return _data_url(color_layer(preprocessing.map_on_photograph(values, small)), "PNG", optimize=False)


def _jpeg_url(image: Image.Image) -> str:
    return _data_url(image, "JPEG", quality=82)


def _data_url(image: Image.Image, format: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
