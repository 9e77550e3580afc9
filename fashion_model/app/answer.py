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
    ADVICE,
    HINTS,
    STATIC,
    SURE,
    main_attribute,
    percentage,
    sentence_of,
    sentence_of_products,
)
from fashion_model.classifier import Box, FashionClassifier, Maps, area_of, with_margin
from fashion_model.explain import OPACITY, PALETTE, color_layer, faded
from fashion_model.images import Source
from fashion_model.predictions import AttributePrediction, Prediction, Product

SHOWN_CLASSES, MIN_SHOWN = 3, 0.05  # of an attribute on the page; the least probability of a runner-up
SAME_MAP = 0.9  # correlation with the best label's from which on a runner-up's map shows nothing else and is left out
PHOTOGRAPH_SIDE = 1000  # pixels of the photograph in the answer
MAP_SIDE = 160  # pixels of a map, which the browser enlarges smoothly
RAMP = ", ".join(f"rgb({r} {g} {b})" for r, g, b in PALETTE[::17])
PART = "part"  # group of what is in a rectangle that was drawn
# The page puts the app's own address in the place of ADDRESS.
PYTHON = """from gradio_client import Client, handle_file

client = Client("ADDRESS")
color, product_type, season, gender, overlay, *_ = client.predict(handle_file(FILE), api_name="/predict")
print(product_type["label"], product_type["confidences"])
print(overlay)  # the path of an image"""
PYTHON_PRODUCTS = """import json
from gradio_client import Client, handle_file

client = Client("ADDRESS")
for product in json.loads(client.predict(handle_file(FILE), api_name="/find_products"))["products"]:
    print(product["box"], product["sentence"])"""


def document_of(file: str, classifier: FashionClassifier, prediction: Prediction) -> dict[str, Any]:
    """`Prediction.to_document` with the photograph's name, the checkpoint's, and the sentence before it."""
    words = {"file": file, "model": classifier.name, "sentence": sentence_of(prediction)}
    return words | prediction.to_document()


def products_document(file: str, classifier: FashionClassifier, products: Sequence[Product]) -> dict[str, Any]:
    """The photograph's name, the checkpoint's, the sentence, and `Product.to_document` of each product with its own."""
    own = "" if len(products) > 1 else ADVICE
    documents = [{"sentence": sentence_of(product.prediction, own)} | product.to_document() for product in products]
    words = {"file": file, "model": classifier.name, "sentence": sentence_of_products(products)}
    return words | {"products": documents}


def prominent(products: Sequence[Product]) -> int:
    """The index of the largest product among those whose type is certain, or among all if none is."""
    types = [p.prediction[main_attribute(p.prediction.attributes)].confidence for p in products]
    return max(range(len(products)), key=lambda i: (types[i] >= SURE, area_of(products[i].box)))


def shown(prediction: AttributePrediction) -> list[tuple[str, float]]:
    """The labels on the page with their probabilities: the predicted one, and runners-up that matter."""
    first, *others = prediction.top(SHOWN_CLASSES)
    return [first, *((label, p) for label, p in others if p >= MIN_SHOWN)]


TEMPLATES = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True)
TEMPLATES.globals |= {"hints": HINTS, "opacity": OPACITY, "ramp": RAMP}
TEMPLATES.globals |= {f.__name__: f for f in (percentage, sentence_of, shown)}


def render(name: str, **values: object) -> str:
    """The HTML of a template in `static/`; values are escaped."""
    return TEMPLATES.get_template(f"{name}.html.jinja").render(values)


def answer_html(
    classifier: FashionClassifier,
    file: str,
    source: Source,
    box: Sequence[int] | None = None,
    products: bool = True,
    chosen: int | None = None,
) -> str:
    """The photograph, called `file`, with a sentence, and cards and overlays for each product in it, or for the whole.

    The product `chosen` is shown first, by default a large one.
    `source` is a path, bytes, or a photograph from `open_image`.
    `box`: left, top, right and bottom of the part that is asked about, in pixels of the upright photograph.
    ImageError as from `open_image`; ValueError for a box that is none.
    """
    photograph = source if isinstance(source, Image.Image) else classifier.open(source)
    full = photograph.info["size"]
    if box is None and products:
        found = classifier.find_and_map(photograph, SHOWN_CLASSES)
    else:
        prediction, maps = classifier.predict_and_map(source, SHOWN_CLASSES, box)
        left, top, right, bottom = box or (0, 0, *full)
        area = with_margin(box, full) if box else (0, 0, *full)
        found = [(Product((left, top, right, bottom), PART, 1.0, prediction), maps, area)]
    several = len(found) > 1
    found_products = [product for product, _, _ in found]
    document = (
        products_document(file, classifier, found_products)
        if several
        else document_of(file, classifier, found_products[0].prediction)
    )
    small = smaller(photograph, PHOTOGRAPH_SIDE)
    return render(
        "answer",
        document=document,
        json=json.dumps(document),
        python=python_code(file, several),
        curl=curl_code(file, several),
        products=[_drawn(classifier, *each, full) for each in found],
        several=several or box is not None,
        chosen=prominent(found_products) if chosen is None else chosen,
        attributes=classifier.attributes,
        main=main_attribute(classifier.encoders.labels),
        photograph=_data_url(small, "JPEG", quality=82),
        size=small.size,
        full=full,
    )


def _drawn(
    classifier: FashionClassifier, product: Product, maps: Maps, area: Box, size: tuple[int, int]
) -> dict[str, Any]:
    """The prediction for a product in a photograph of `size`, the maps that the page shows, and where both lie."""
    prediction, preprocessing = product.prediction, classifier.config.preprocessing
    left, top, right, bottom = area
    scale = min(1, MAP_SIDE / max(right - left, bottom - top))
    map_size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))

    def layer(best: np.ndarray, values: np.ndarray) -> str | None:
        if values is not best and not differ(best, values):
            return None
        drawn = preprocessing.map_on_photograph(values, map_size)
        return _data_url(color_layer(faded(drawn, area, size)), "PNG")

    layers = {}
    for name, of_attribute in prediction.attributes.items():
        best, *others = maps[name][: len(shown(of_attribute))]
        layers[name] = [layer(best, values) for values in (best, *others)]
    return {"prediction": prediction, "layers": layers, "box": _css(product.box, size), "area": _css(area, size)}


def differ(best: np.ndarray, other: np.ndarray) -> bool:
    """Whether a map (h, w) shows something else than that of the best label. One that is even shows nothing."""
    if not np.ptp(best) or not np.ptp(other):
        return bool(np.ptp(other))
    return bool(np.corrcoef(best.flat, other.flat)[0, 1] < SAME_MAP)


def python_code(file: str, products: bool = False) -> str:
    return (PYTHON_PRODUCTS if products else PYTHON).replace("FILE", json.dumps(file, ensure_ascii=False))


def curl_code(file: str, products: bool = False) -> str:
    """For bash. A file name with quotes or the like is quoted for curl, then for the shell."""
    address = "'ADDRESS/predict?products=1'" if products else "ADDRESS/predict"
    if re.fullmatch(r"[\w.-]+", file):
        return f"curl -F file=@{file} {address}"
    quoted = 'file=@"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"curl -F {shlex.quote(quoted)} {address}"


def _css(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """The position of a box in a photograph of `size`."""
    left, top, right, bottom = box
    sides = left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]
    return "left: {:.2%}; top: {:.2%}; width: {:.2%}; height: {:.2%}".format(*sides)


def smaller(photograph: Image.Image, side: int) -> Image.Image:
    """A copy whose sides are at most `side` pixels."""
    copy = photograph.copy()
    copy.thumbnail((side, side))
    return copy


def _data_url(image: Image.Image, format: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
