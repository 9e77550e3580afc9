"""The endpoints for programs: gradio_client, HTTP and MCP. Their components are never drawn."""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from fashion_model.app.answer import document_of, products_document
from fashion_model.app.disk import jpeg_file
from fashion_model.app.gradio_private import no_tool
from fashion_model.app.sentences import main_attribute, sentence_of
from fashion_model.app.uploads import ONE_PHOTOGRAPH, File, name_of, received_photograph, sides_of
from fashion_model.attributes import IS_FASHION
from fashion_model.classifier import FashionClassifier, open_for_network
from fashion_model.explain import METHOD, METHODS, OPACITY
from fashion_model.images import ImageError
from fashion_model.predictions import TOP, Prediction

# Clients rely on the order of /predict's first outputs: these attributes, then the overlay.
FIRST_OUTPUTS = ("color", "product_type", "season", "gender")


class Endpoints:
    """The functions of the endpoints. Clients and MCP show their docstrings."""

    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier
        self.names = [attribute.name for attribute in classifier.attributes]

    @no_tool
    def predict(
        self, photo: File | None, attribute: str, opacity: float, classes: int
    ) -> tuple[dict[str, float] | str | bool | None, ...]:
        """Color, product type, season of use and target gender of a fashion product in a photograph.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB
            attribute: the attribute that the overlay explains, or is_fashion
            opacity: of the overlay's colors, from 0 to 1
            classes: how many labels of each attribute to return with their confidences; 0 for all

        Returns:
            color, product_type, season and gender as {label, confidences}; overlay, where the network looked; then the
            other attributes of the checkpoint; notice, a sentence about what is in the photograph; is_fashion, whether
            the photograph shows a fashion product
        """
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            raise gr.Error("The number of classes has to be a whole number, and 0 for all.")
        prediction, overlay = self._explained(photo, attribute, opacity=opacity)
        document = prediction.to_document(classes)
        outputs: dict[str, Any] = {name: dict(document[name]["top"]) for name in self.names}
        outputs |= {"overlay": str(jpeg_file(overlay)), "notice": sentence_of(prediction)}
        outputs[IS_FASHION] = prediction.is_fashion
        return tuple(outputs[name] for name in output_names(self.names))

    def explain_photograph(
        self, photo: File | None, attribute: str, label: str, opacity: float, method: str, box: str
    ) -> str:
        """Where in a photograph the network sees evidence for a label: an image with a Grad-CAM overlay.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB
            attribute: the attribute to explain, or is_fashion
            label: the label to explain, one of those that labels returns; the predicted one if empty
            opacity: of the overlay's colors, from 0 to 1
            method: gradcam, gradcam++, layercam or hirescam
            box: left, top, right, bottom of the product that is asked about, in pixels; all of the photograph if empty

        Returns:
            the overlay, in the photograph's size
        """
        _, overlay = self._explained(photo, attribute, label, opacity=opacity, method=str(method), box=sides_of(box))
        return str(jpeg_file(overlay))

    def classify_photograph(self, photo: File | None) -> str:
        """Color, product type, season of use and target gender of a fashion product in a photograph.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB

        Returns:
            a JSON document: a sentence; for each attribute its label, confidence and best five labels; whether the
            photograph shows a fashion product
        """
        (prediction,) = self.classifier.predict([open_for_network(received_photograph(photo))])
        return json.dumps(document_of(name_of(photo), self.classifier, prediction), ensure_ascii=False)

    def find_products(self, photo: File | None) -> str:
        """The fashion products in a photograph of several, each with color, product type, season of use and gender.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB

        Returns:
            a JSON document: a sentence; products, each with its box (left, top, right, bottom in pixels of the upright
            photograph), group, score, label, confidence and best five labels of each attribute
        """
        products = self.classifier.find(received_photograph(photo))
        return json.dumps(products_document(name_of(photo), self.classifier, products), ensure_ascii=False)

    def labels(self) -> dict[str, list[str]]:
        """The labels that the classifier knows.

        Returns:
            attribute → labels
        """
        return {name: list(labels) for name, labels in self.classifier.encoders.labels.items()}

    @no_tool
    def model(self) -> dict[str, Any]:
        """Which checkpoint is served.

        Returns:
            name, backbone, image_size and attributes
        """
        config = self.classifier.config
        return {
            "name": self.classifier.name,
            "backbone": config.backbone,
            "image_size": list(config.image_size),
            "attributes": {a.name: a.title for a in self.classifier.attributes},
        }

    def _explained(
        self, photo: File | None, attribute: str, label: str | None = None, **options: Any
    ) -> tuple[Prediction, Image.Image]:
        """The prediction and the overlay; `options` as for `FashionClassifier.explain`. Arguments may have any type."""
        path, attribute = received_photograph(photo), str(attribute)
        labels = {} if label in (None, "") else {attribute: str(label)}
        if isinstance(options["opacity"], bool):
            raise gr.Error("The opacity has to be a number from 0 to 1.")
        try:
            prediction, overlays = self.classifier.predict_and_explain(path, [attribute], labels, **options)
        except ImageError:
            raise
        except ValueError as error:
            raise gr.Error(f"{error}.") from error
        return prediction, overlays[attribute]


def output_names(attributes: Sequence[str]) -> list[str]:
    """What /predict returns for these attributes, in order."""
    first = [name for name in FIRST_OUTPUTS if name in attributes]
    return [*first, "overlay", *(name for name in attributes if name not in first), "notice", IS_FASHION]


def add_api(classifier: FashionClassifier) -> None:
    """Add the endpoints to the Blocks around the call. Gradio doesn't open the files: its errors have no sentences."""
    endpoints = Endpoints(classifier)
    names = endpoints.names
    with gr.Column(visible=False):
        button = gr.Button()
        photo = gr.Image(type="filepath", image_mode=None, label="photo")
        attribute = gr.Dropdown([*names, IS_FASHION], value=main_attribute(names), label="attribute")
        label = gr.Textbox("", label="label")
        opacity = gr.Slider(0, 1, OPACITY, label="opacity")
        classes = gr.Number(TOP, precision=0, label="classes")
        method = gr.Dropdown(list(METHODS), value=METHOD, label="method")
        box = gr.Textbox("", label="box")
        outputs: dict[str, Any] = {name: gr.Label(label=name) for name in names}
        outputs["overlay"] = overlay = gr.Image(label="overlay")
        outputs["notice"] = gr.Textbox(label="notice")
        outputs[IS_FASHION] = gr.Checkbox(label=IS_FASHION)
        result = gr.Textbox(label="result")
        labels, model = gr.JSON(label="labels"), gr.JSON(label="model")

    every = [outputs[name] for name in output_names(names)]
    asked = [photo, attribute, label, opacity, method, box]
    for name, fn, inputs, results, options in (
        ("predict", endpoints.predict, [photo, attribute, opacity, classes], every, ONE_PHOTOGRAPH),
        ("explain", endpoints.explain_photograph, asked, overlay, ONE_PHOTOGRAPH),
        ("classify", endpoints.classify_photograph, photo, result, ONE_PHOTOGRAPH),
        ("find_products", endpoints.find_products, photo, result, ONE_PHOTOGRAPH),
        ("labels", endpoints.labels, [], labels, {}),
        ("model", endpoints.model, [], model, {}),
    ):
        settings = {"api_name": name, "preprocess": False, "show_progress": "hidden", **options}
        button.click(fn=fn, inputs=inputs, outputs=results, **settings)
