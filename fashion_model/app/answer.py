"""What the page and the endpoints say of one photograph: the JSON document with its sentence, and the page's HTML.

The HTML needs no other request: `static/page.js` handles clicks, the opacity and the downloads, and finds the elements
by their data attributes.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from fashion_model.attributes import Attribute
from fashion_model.classifier import FashionClassifier
from fashion_model.explain import OPACITY, PALETTE, backdrop, color_layer
from fashion_model.predictions import AttributePrediction, Prediction

MAIN_ATTRIBUTE = "product_type"  # its confidence decides whether the page says that it is unsure
HINTS = {"season": "a photograph does not show it"}  # attributes that are hints at best, and why
SHOWN_CLASSES, MIN_SHOWN = 3, 0.05  # of an attribute on the page; the least probability of a runner-up
# Least confidence, and what it is called.
WORDS = ((0.9, "almost certain"), (0.7, "likely"), (0.4, "unsure"), (0.0, "a guess"))
SURE, MIN_CONFIDENCE = 0.7, 0.4

ADVICE = "One product that fills the picture, on a plain ground, works best."
NOT_FASHION = f"This does not look like a fashion product. {ADVICE}"

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


def document_of(file: str, classifier: FashionClassifier, prediction: Prediction) -> dict[str, Any]:
    """`Prediction.to_document` with the photograph's name, the checkpoint's, and the sentence before it."""
    words = {"file": file, "model": classifier.name, "sentence": sentence_of(prediction, classifier.attributes)}
    return words | prediction.to_document()


def sentence_of(prediction: Prediction, attributes: Sequence[Attribute]) -> str:
    """Plain English: what the network sees, and how far it can be trusted."""
    if not prediction.is_fashion:
        return NOT_FASHION
    names = [a.name for a in attributes]
    main = main_attribute(names)
    parts = [in_sentence(name, prediction[name]) for name in ("color", main, "gender") if name in names]
    text = " ".join(dict.fromkeys(parts))
    confidence = prediction[main].confidence
    if confidence < MIN_CONFIDENCE:
        return f"Hard to tell; perhaps {text}. {ADVICE}"
    hints = "".join(f" {a.title.split()[0]}: a guess." for a in attributes if a.name in HINTS)
    return (f"{text[0].upper()}{text[1:]}." if confidence >= SURE else f"Looks like {text}.") + hints


def main_attribute(names: Sequence[str]) -> str:
    """The first attribute, where a checkpoint has no MAIN_ATTRIBUTE."""
    return MAIN_ATTRIBUTE if MAIN_ATTRIBUTE in names else names[0]


def in_sentence(name: str, prediction: AttributePrediction) -> str:
    """A label within a sentence: `black`, `casual shoes`, `for men`."""
    label = prediction.label[0].lower() + prediction.label[1:].lower()
    if name == "gender":
        for_whom = "anyone" if label == "unisex" else label
        return f"for {for_whom}" + ("" if prediction.confidence >= SURE else " (unsure)")
    return "multicolored" if label == "multi" else label


def in_words(confidence: float) -> str:
    return next(word for least, word in WORDS if confidence >= least)


def is_doubtful(name: str, prediction: AttributePrediction) -> bool:
    """Whether the page shows the label as uncertain."""
    return name in HINTS or prediction.confidence < SURE


def shown(prediction: AttributePrediction) -> list[tuple[str, float]]:
    """The labels on the page with their probabilities: the predicted one, and runners-up that matter."""
    first, *others = prediction.top(SHOWN_CLASSES)
    return [first, *((label, p) for label, p in others if p >= MIN_SHOWN)]


def percentage(probability: float) -> int:
    """From 1 to 99: no prediction is certain."""
    return min(max(round(100 * probability), 1), 99)


def percent(probability: float) -> str:
    return f"{percentage(probability)} %"


def caption_of(prediction: Prediction) -> str:
    """The caption of a thumbnail: the labels with their confidences, and a question mark where there is doubt."""
    if not prediction.is_fashion:
        return "No fashion product?"
    return " · ".join(
        f"{p.label} {percent(p.confidence)}{'?' if is_doubtful(name, p) else ''}"
        for name, p in prediction.attributes.items()
    )


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
