"""The endpoints that others call, through gradio_client, HTTP or MCP. Their components are never drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from fashion_model.app.disk import jpeg_file
from fashion_model.app.handlers import (
    ONE_PHOTOGRAPH,
    File,
    classified,
    classifier_named,
    explained,
    not_a_tool,
)
from fashion_model.app.loading import Models
from fashion_model.app.result import TOP_CLASSES, main_attribute
from fashion_model.explain.cam import METHOD, METHODS
from fashion_model.explain.overlay import OPACITY

# Clients rely on the order of /predict's first outputs: these attributes, then the overlay.
FIRST_OUTPUTS = ("color", "product_type", "season", "gender")

Label = dict[str, float]


def output_names(attributes: Sequence[str]) -> list[str]:
    """What /predict returns for these attributes, in order."""
    first = [name for name in FIRST_OUTPUTS if name in attributes]
    return [*first, "overlay", *(name for name in attributes if name not in first), "notice", "is_fashion"]


def other_inputs(attributes: Sequence[str]) -> tuple[str, float, int, str]:
    """What /predict takes after the photograph, where a client names none: attribute, opacity, classes, model."""
    return main_attribute(attributes), OPACITY, TOP_CLASSES, ""


def add_api(models: Models) -> None:
    """Add the endpoints to the Blocks around the call. Gradio doesn't open the files: its errors have no sentences."""
    attributes = models.first.attributes
    names = [attribute.name for attribute in attributes]

    def predict(
        photo: File | None, attribute: str, opacity: float, classes: int, model: str | None
    ) -> tuple[Label | str | bool | None, ...]:
        """Color, product type, season of use and target gender of a fashion product in a photograph.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB
            attribute: the attribute that the overlay explains
            opacity: of the overlay's colors, from 0 to 1
            classes: how many labels of each attribute to return with their confidences; 0 for all
            model: one of the models that /model lists; the first one if empty

        Returns:
            color, product_type, season and gender as {label, confidences}; overlay, where the network looked; then the
            other attributes of the checkpoint; notice, a sentence about what is in the photograph; is_fashion, whether
            the photograph shows a fashion product
        """
        result, overlay = explained(classifier_named(models, model), photo, attribute, opacity=opacity)
        labels = {n: dict(p.top(classes or len(p.labels))) for n, p in result.prediction.attributes.items()}
        found: dict[str, Any] = {
            **labels,
            "overlay": jpeg_file(overlay),
            "notice": result.sentence,
            "is_fashion": result.prediction.is_fashion,
        }
        return tuple(found.get(name) for name in output_names(names))

    def explain_photograph(
        photo: File | None, attribute: str, label: str, opacity: float, method: str, model: str | None
    ) -> str:
        """Where in a photograph the network sees evidence for a label: an image with a Grad-CAM overlay.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB
            attribute: the attribute to explain
            label: the label to explain, one of those that labels returns; the predicted one if empty
            opacity: of the overlay's colors, from 0 to 1
            method: gradcam, gradcam++, layercam or hirescam
            model: one of the models that /model lists; the first one if empty

        Returns:
            the overlay, in the photograph's size
        """
        classifier = classifier_named(models, model)
        return jpeg_file(explained(classifier, photo, attribute, label, opacity=opacity, method=method)[1])

    def labels() -> dict[str, list[str]]:
        """The labels that the classifier knows.

        Returns:
            attribute → labels
        """
        return {name: list(found) for name, found in models.first.encoders.labels.items()}

    def model() -> dict[str, Any]:
        """Which models are served, and what the first one is.

        Returns:
            models, all names; and name, backbone, image_size and attributes of the first one
        """
        first = models.first
        return {
            "models": list(models.names),
            "name": first.name,
            "backbone": first.config.backbone,
            "image_size": list(first.config.image_size),
            "attributes": {a.name: a.title for a in attributes},
        }

    def classify_photograph(photo: File | None, model: str | None) -> str:
        """Color, product type, season of use and target gender of a fashion product in a photograph.

        Args:
            photo: the photograph, JPEG, PNG, WebP or HEIC, up to 10 MB
            model: one of the models that /model lists; the first one if empty

        Returns:
            a JSON document: for each attribute its label, confidence and best five labels; whether the photograph shows
            a fashion product; and a sentence
        """
        found = classified(classifier_named(models, model), photo)
        return json.dumps(found.to_dict(), ensure_ascii=False)

    with gr.Column(visible=False):
        button = gr.Button()
        photo = gr.Image(type="filepath", image_mode=None, label="photo")
        main, opaque, top, no_name = other_inputs(names)
        attribute = gr.Dropdown(names, value=main, label="attribute")
        label = gr.Textbox("", label="label")
        opacity = gr.Slider(0, 1, opaque, label="opacity")
        classes = gr.Number(top, precision=0, label="classes")
        method = gr.Dropdown(list(METHODS), value=METHOD, label="method")
        name = gr.Textbox(no_name, label="model")
        outputs: dict[str, Any] = {n: gr.Label(label=n) for n in names}
        outputs["overlay"] = overlay = gr.Image(label="overlay")
        outputs["notice"] = gr.Textbox(label="notice")
        outputs["is_fashion"] = gr.Checkbox(label="is_fashion")
        result = gr.Textbox(label="result")
        documents = gr.JSON(label="labels"), gr.JSON(label="model")

    public = {"preprocess": False, "show_progress": "hidden"}
    button.click(
        fn=not_a_tool(predict),
        inputs=[photo, attribute, opacity, classes, name],
        outputs=[outputs[n] for n in output_names(names)],
        api_name="predict",
        **public | ONE_PHOTOGRAPH,
    )
    button.click(
        fn=explain_photograph,
        inputs=[photo, attribute, label, opacity, method, name],
        outputs=overlay,
        api_name="explain",
        **public | ONE_PHOTOGRAPH,
    )
    button.click(
        fn=classify_photograph, inputs=[photo, name], outputs=result, api_name="classify", **public | ONE_PHOTOGRAPH
    )
    button.click(fn=labels, outputs=documents[0], api_name="labels", **public)
    button.click(fn=not_a_tool(model), outputs=documents[1], api_name="model", **public)
