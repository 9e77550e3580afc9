"""What the page shows of one photograph, as HTML, and the JSON document that page and endpoints have in common.

The HTML needs no other request: `static/answer.js` finds its elements by their data attributes.
"""

import base64
import io
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from fashion_model.app.sentences import (
    ABOUT,
    HINTS,
    STATIC,
    SURE,
    main_attribute,
    name_of,
    percentage,
    sentence_of,
    sentence_of_products,
)
from fashion_model.classifier import FashionClassifier, Maps, checked, with_margin
from fashion_model.explain import OPACITY, PALETTE, color_layer
from fashion_model.images import Source
from fashion_model.predictions import AttributePrediction, Prediction, Product

SHOWN_CLASSES, MIN_SHOWN = 3, 0.05  # of an attribute on the page; the least probability of a runner-up
SAME_MAP = 0.9  # correlation with the best label's from which on a runner-up's map shows nothing else and is left out
TEMPLATES = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True)
PHOTOGRAPH_SIDE = 1000  # pixels of the photograph in the answer
MAP_SIDE = 160  # pixels of a map, which the browser enlarges smoothly
RAMP = ", ".join(f"rgb({r} {g} {b})" for r, g, b in PALETTE[::17])
PART = "part"  # group of what is in a rectangle that was drawn
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


def products_document(file: str, classifier: FashionClassifier, products: Sequence[Product]) -> dict[str, Any]:
    """The photograph's name, the checkpoint's, the sentence, and `Product.to_document` of each product with its own."""
    documents = [
        {"sentence": sentence_of(product.prediction, classifier.attributes)} | product.to_document()
        for product in products
    ]
    sentence = sentence_of_products(products, classifier.attributes)
    return {"file": file, "model": classifier.name, "sentence": sentence, "products": documents}


def prominent(products: Sequence[Product]) -> int:
    """The index of the largest product among those whose type is certain, or among all if none is."""
    types = [p.prediction[main_attribute(list(p.prediction.attributes))].confidence for p in products]
    sizes = [(right - left) * (bottom - top) for left, top, right, bottom in (p.box for p in products)]
    return max(range(len(products)), key=lambda i: (types[i] >= SURE, sizes[i]))


def shown(prediction: AttributePrediction) -> list[tuple[str, float]]:
    """The labels on the page with their probabilities: the predicted one, and runners-up that matter."""
    first, *others = prediction.top(SHOWN_CLASSES)
    return [first, *((label, p) for label, p in others if p >= MIN_SHOWN)]


def render(name: str, **values: object) -> str:
    """The HTML of a template in `static/`; values are escaped."""
    return TEMPLATES.get_template(f"{name}.html.jinja").render(values)


def answer_html(
    classifier: FashionClassifier,
    file: str,
    source: Source,
    part: Sequence[float] | None = None,
    products: bool = True,
) -> str:
    """The photograph, called `file`, with a sentence, and cards and overlays for each product in it, or for the whole.

    `source` is a path, bytes, or a photograph from `open_image`.
    `part`: left, top, right and bottom of the part that is asked about, as parts of the photograph's width and height.
    ImageError as from `open_image`; ValueError for a part that is none.
    """
    photograph = source if isinstance(source, Image.Image) else classifier.open(source)
    if part is None and products:
        found = classifier.find_and_map(photograph, SHOWN_CLASSES)
    else:
        full = photograph.info["size"]
        box = checked([round(x * side) for x, side in zip(part or (0, 0, 1, 1), [*full, *full], strict=False)], full)
        prediction, maps = classifier.predict_and_map(source, SHOWN_CLASSES, box if part else None)
        found = [(Product(box, PART, 1.0, prediction), maps)]
    several = len(found) > 1
    document = (
        products_document(file, classifier, [product for product, _ in found])
        if several
        else document_of(file, classifier, found[0][0].prediction)
    )
    size = _within(photograph.size, PHOTOGRAPH_SIDE)
    small = photograph.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    return render(
        "answer",
        document=document,
        json=json.dumps(document),
        python=python_code(file),
        curl=curl_code(file),
        products=[_product_values(classifier, *each, photograph.info["size"]) for each in found],
        several=several or part is not None,
        chosen=prominent([product for product, _ in found]),
        main=main_attribute(list(found[0][0].prediction.attributes)),
        hints=HINTS,
        photograph=_data_url(small, "JPEG", quality=82),
        size=size,
        opacity=OPACITY,
        ramp=RAMP,
    )


def _product_values(
    classifier: FashionClassifier, product: Product, maps: Maps, size: tuple[int, int]
) -> dict[str, Any]:
    """Of a product in a photograph of `size`: its name, where box and maps lie, and its cards."""
    prediction, preprocessing = product.prediction, classifier.config.preprocessing
    whole = product.box == (0, 0, *size)
    left, top, right, bottom = product.box if whole else with_margin(product.box, size)
    map_size = _within((right - left, bottom - top), MAP_SIDE)

    def layer(values: np.ndarray) -> str:
        return _data_url(color_layer(preprocessing.map_on_photograph(values, map_size)), "PNG")

    cards = []
    for attribute in classifier.attributes:
        of_label = maps[attribute.name]
        classes = [
            {
                "rank": rank,
                "label": label,
                "percent": percentage(p),
                "map": layer(of_label[rank]) if not rank or differ(of_label[0], of_label[rank]) else None,
            }
            for rank, (label, p) in enumerate(shown(prediction[attribute.name]))
        ]
        about = ABOUT.get(classes[0]["label"])
        cards.append({"name": attribute.name, "title": attribute.title, "classes": classes, "about": about})
    name = name_of(prediction[main_attribute(list(prediction.attributes))].label)
    return {
        "name": name[0].upper() + name[1:],
        "sentence": sentence_of(prediction, classifier.attributes),
        "refused": not prediction.is_fashion,
        "score": prediction.fashion_score,
        "threshold": prediction.fashion_threshold,
        "cards": cards,
        "box": _css(product.box, size),
        "area": _css((left, top, right, bottom), size),
    }


def differ(best: np.ndarray, other: np.ndarray) -> bool:
    """Whether a map (h, w) shows something else than that of the best label. One that is even shows nothing."""
    if not np.ptp(best) or not np.ptp(other):
        return bool(np.ptp(other))
    return bool(np.corrcoef(best.flat, other.flat)[0, 1] < SAME_MAP)


def python_code(file: str) -> str:
    return PYTHON.replace("FILE", json.dumps(file, ensure_ascii=False))


def curl_code(file: str) -> str:
    """For bash. A file name with quotes or the like is quoted for curl, then for the shell."""
    if re.fullmatch(r"[\w.-]+", file):
        return f"curl -F file=@{file} ADDRESS/predict"
    quoted = 'file=@"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"curl -F {shlex.quote(quoted)} ADDRESS/predict"


def _css(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """The position of a box in a photograph of `size`."""
    left, top, right, bottom = box
    sides = left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]
    return "left: {:.2%}; top: {:.2%}; width: {:.2%}; height: {:.2%}".format(*sides)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with the same ratio whose sides are at most `side`."""
    scale = min(1, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_url(image: Image.Image, format: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
