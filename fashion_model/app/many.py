"""The tab for many photographs: layout, then wiring."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from fashion_model.app.handlers import File, analyse_all
from fashion_model.app.uploads import MAX_BYTES, MAX_PHOTOGRAPHS, MAX_ZIP
from fashion_model.classifier import FashionClassifier
from fashion_model.rows import csv_of, fields_of


def many_tab(classifier: FashionClassifier) -> None:
    names = [attribute.name for attribute in classifier.attributes]

    def predict_batch(
        files: list[File] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio hands it over)
    ) -> tuple[list[list[Any]], list[tuple[Image.Image, str]], str, str]:
        """For photographs and zips of them: a table, thumbnails with captions, the CSV file, and a summary.

        A file that is no photograph has a row with its error, and no thumbnail.
        """
        rows, shown = analyse_all(classifier, files, progress)
        file = save_bytes_to_cache(csv_of(rows, names).encode(), "predictions.csv", get_upload_folder())
        summary = f"{len(shown)} of {len(rows)} files could be read."
        return [list(row.values()) for row in rows], shown, file, summary

    with gr.Row():
        with gr.Column(scale=3):
            files = gr.File(
                label="Photographs or zips",
                file_count="multiple",
                file_types=["image", ".zip"],
                height=300,
                elem_id="files",
            )
            gr.Markdown(
                f"At most {MAX_PHOTOGRAPHS} photographs of up to {MAX_BYTES // 2**20} MB; a zip up to {MAX_ZIP} MB."
            )
            button = gr.Button("Classify all", variant="primary", elem_id="classify-all")
            summary = gr.Markdown("", elem_id="summary")
            download = gr.DownloadButton("Download CSV", interactive=False, elem_id="download")
        with gr.Column(scale=7):
            gallery = gr.Gallery(show_label=False, format="jpeg", height=480, interactive=False, elem_id="gallery")
    table = gr.Dataframe(
        headers=[field.replace("_", " ") for field in fields_of(names)],
        column_widths=[column_width(field) for field in fields_of(names)],
        wrap=True,
        max_height=480,
        interactive=False,
        elem_id="table",
    )

    outputs = [table, gallery, download, summary]
    asked = button.click(
        fn=predict_batch,
        inputs=files,
        outputs=outputs,
        preprocess=False,
        api_name="predict_batch",
        show_progress_on=gallery,
    )
    asked.success(fn=lambda: gr.update(interactive=True), outputs=download, api_visibility="private")
    empty = (None, None, gr.update(value=None, interactive=False), "")
    files.clear(fn=lambda: empty, outputs=outputs, api_visibility="private")


def column_width(field: str) -> str:
    return {"file": "165px", "error": "170px", "is_fashion": "80px"}.get(field, "105px")
