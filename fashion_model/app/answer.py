"""The page's HTML, and above all the answer for one photograph, which needs no other request.

`static/page.js` handles clicks, the opacity and the downloads; it finds the elements by their data attributes.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from fashion_model.app.result import (
    HINTS,
    SHOWN_CLASSES,
    document_of,
    in_words,
    is_doubtful,
    main_attribute,
    percent,
    shown,
)
from fashion_model.classifier import FashionClassifier
from fashion_model.explain import OPACITY, PALETTE, backdrop, color_layer

STATIC = Path(__file__).parent / "static"
TEMPLATES = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True)
BACKDROP_SIDE = 1000  # pixels of the gray photograph below the overlays
MAP_SIDE = 160  # pixels of a map, which the browser enlarges smoothly
RAMP = ", ".join(f"rgb({r} {g} {b})" for r, g, b in PALETTE[::17])
# page.js puts the app's own address in the place of ADDRESS.
PYTHON = """from gradio_client import Client, handle_file

client = Client("ADDRESS")
color, product_type, season, gender, overlay, *_ = client.predict(handle_file(FILE), api_name="/predict")
print(product_type["label"], product_type["confidences"])
print(overlay)  # the path of an image"""


def render(name: str, **values: object) -> str:
    """The HTML of a template in `static/`; values are escaped."""
    return TEMPLATES.get_template(f"{name}.html.jinja").render(values)


def answer_html(classifier: FashionClassifier, file: str, photograph: Image.Image) -> str:
    """A sentence, a card for each attribute, and the overlays for the upright RGB `photograph`, called `file`."""
    prediction, maps = classifier.predict_and_map(photograph, SHOWN_CLASSES)
    document = document_of(file, classifier, prediction)
    size = _within(photograph.size, BACKDROP_SIDE)
    map_size, preprocessing = _within(size, MAP_SIDE), classifier.config.preprocessing
    cards = []
    for attribute in classifier.attributes:
        name, of_attribute = attribute.name, prediction[attribute.name]
        classes = [
            {
                "id": f"{name}-{rank}",
                "label": label,
                "share": f"{in_words(p)}, {percent(p)}" if rank == 0 and name not in HINTS else percent(p),
                "map": _data_url(color_layer(preprocessing.map_on_photograph(maps[name][rank], map_size)), "PNG"),
            }
            for rank, (label, p) in enumerate(shown(of_attribute))
        ]
        doubtful = is_doubtful(name, of_attribute)
        cards.append({"name": name, "title": attribute.title, "classes": classes, "doubtful": doubtful})
    main = main_attribute(list(prediction.attributes))
    gray = backdrop(photograph.resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
    return render(
        "answer",
        document=document,
        json=json.dumps(document),
        python=python_code(file),
        curl=curl_code(file),
        cards=cards,
        hints=HINTS,
        visible=f"{main}-0",
        explained=prediction[main].label,
        photograph=_data_url(gray, "JPEG", quality=82),
        size=size,
        opacity=OPACITY,
        ramp=RAMP,
    )


def error_html(message: str) -> str:
    return render("error", message=message)


def python_code(file: str) -> str:
    return PYTHON.replace("FILE", json.dumps(file, ensure_ascii=False))


def curl_code(file: str) -> str:
    """For bash. A file name with quotes or the like is quoted for curl, then for the shell."""
    if re.fullmatch(r"[\w.-]+", file):
        return f"curl -F file=@{file} ADDRESS/predict"
    quoted = 'file=@"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"curl -F {shlex.quote(quoted)} ADDRESS/predict"


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with the same ratio whose sides are at most `side`."""
    scale = min(1, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_url(image: Image.Image, format: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
