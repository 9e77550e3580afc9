"""The tab for many photographs: the functions of its events, then layout and wiring."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from fashion_model.app.answer import answer_html
from fashion_model.app.disk import jpeg_file, result_file
from fashion_model.app.gradio_private import no_tool
from fashion_model.app.sentences import caption_of, percentage
from fashion_model.app.uploads import LIMITS, File, Upload, photographs, received_files
from fashion_model.app.visit import EXAMPLES
from fashion_model.classifier import FashionClassifier
from fashion_model.images import ImageError
from fashion_model.predictions import Prediction
from fashion_model.rows import Row, csv_of, fields_of, json_line, row_of

EACH = 8  # photographs between two updates of the page
MAX_BATCH_SECONDS = 180  # of one batch
TOO_LONG = f"The photographs took more than {MAX_BATCH_SECONDS // 60} minutes; please send the rest again."
THUMBNAIL = (240, 240)  # pixels
TITLES = {
    "file": "File",
    "error": "Not read because",
    "is_fashion": "Fashion?",
    "fashion_score": "Fashion score",
    "fashion_threshold": "Least score",
}


class ManyEvents:
    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier
        self.names = [attribute.name for attribute in classifier.attributes]

    @no_tool
    def predict_batch(
        self,
        files: list[File] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio hands it over)
    ) -> Iterator[tuple[Any, ...]]:
        """Color, product type, season and gender of many photographs, and of those in zips.

        Args:
            files: photographs and zips of photographs

        Returns:
            table, one row a photograph, with an error where it could not be read; gallery, thumbnails with captions;
            csv, the table as a file; summary, a sentence; json_lines, the table as another file
        """
        rows: list[Row] = []
        gallery: list[tuple[str, str]] = []  # paths and captions
        readable: list[int] = []  # indices of the gallery's photographs among the files

        with photographs(received_files(files)) as (uploads, passed_over):
            for name, result, thumbnail in label_all(self.classifier, uploads):
                rows.append(row_of(name, result, self.names))
                if not isinstance(result, ImageError):
                    gallery.append((str(jpeg_file(thumbnail, "thumbnail.jpeg")), caption_of(result)))
                    readable.append(len(rows) - 1)
                progress((len(rows), len(uploads)), unit="photographs")
                if len(rows) % EACH == 0:
                    yield cells(rows), gallery, None, f"{len(rows)} files so far.", None, readable
        csv = result_file("predictions.csv", csv_of(rows, self.names).encode())
        json_lines = result_file("predictions.jsonl", "".join(map(json_line, rows)).encode())
        yield cells(rows), gallery, str(csv), summary_of(rows, passed_over), str(json_lines), readable

    def open_one(self, event: gr.SelectData, files: list[File] | None, readable: list[int]) -> str:
        """The answer for the photograph of a thumbnail."""
        try:
            with photographs(received_files(files)) as (uploads, _):
                name, open_upload = uploads[readable[event.index]]
                return answer_html(self.classifier, name, open_upload())
        except ImageError as error:
            return html.escape(str(error))
        except (IndexError, TypeError):  # another client than the page
            return "There is no such photograph."


def label_all(
    classifier: FashionClassifier, uploads: Sequence[Upload]
) -> Iterator[tuple[str, Prediction | ImageError, Image.Image | None]]:
    """Name, result and thumbnail of each upload, as they come."""
    thumbnails: dict[int, Image.Image] = {}
    end = time.monotonic() + MAX_BATCH_SECONDS

    def read(index: int) -> Image.Image:
        if time.monotonic() > end:
            raise ImageError(TOO_LONG)
        photograph = uploads[index][1]()
        thumbnails[index] = photograph.copy()
        thumbnails[index].thumbnail(THUMBNAIL)
        return photograph

    for index, result in classifier.stream(range(len(uploads)), read=read):
        yield uploads[index][0], result, thumbnails.pop(index, None)


def many_tab(classifier: FashionClassifier) -> None:
    titles = {a.name: a.title for a in classifier.attributes}
    gr.HTML(f'<p class="limits">{LIMITS}</p>')
    files = gr.File(label="Photographs or zips", file_count="multiple", height=180, elem_id="files")
    examples = gr.Button("Use the examples", size="sm", elem_id="use-examples")
    summary = gr.Markdown("", label="summary", elem_id="summary", container=False)
    with gr.Row(elem_id="downloads"):
        csv = gr.DownloadButton("Save CSV", interactive=False, size="sm", elem_id="csv")
        json_lines = gr.DownloadButton("Save JSON Lines", interactive=False, size="sm", elem_id="json-lines")
    plain = {"show_label": False, "interactive": False}
    gallery = gr.Gallery(
        label="gallery", format="jpeg", height="auto", allow_preview=False, buttons=[], elem_id="gallery", **plain
    )
    opened = gr.HTML(elem_id="opened")
    table = gr.Dataframe(
        headers=[header_of(field, titles) for field in fields_of(list(titles))],
        label="table",
        wrap=True,
        column_widths=["180px", *["110px", "80px"] * len(titles), "200px", "90px", "90px", "90px"],
        max_height=480,
        show_search="filter",
        elem_id="table",
        **plain,
    )

    events, readable = ManyEvents(classifier), gr.State([])
    outputs = [table, gallery, csv, summary, json_lines, readable]
    batch: dict[str, Any] = {"outputs": outputs, "preprocess": False, "show_progress_on": summary}
    batch |= {"fn": events.predict_batch, "inputs": files, "concurrency_id": "many"}  # one visitor's at a time
    uploaded = files.upload(api_name="predict_batch", **batch)
    picked = examples.click(fn=lambda: [str(path) for path in EXAMPLES], outputs=files, api_visibility="private").then(
        api_visibility="private", **batch
    )
    for event in (uploaded, picked):
        event.success(fn=lambda: [gr.update(interactive=True)] * 2, outputs=[csv, json_lines], api_visibility="private")
    no_file = gr.update(value=None, interactive=False)
    empty: tuple[Any, ...] = (None, None, no_file, "", no_file, [], "")
    files.clear(fn=lambda: empty, outputs=[*outputs, opened], cancels=[uploaded, picked], api_visibility="private")
    opening: dict[str, Any] = {"inputs": [files, readable], "outputs": opened, "preprocess": False}
    gallery.select(fn=events.open_one, api_visibility="private", **opening)


def header_of(field: str, titles: dict[str, str]) -> str:
    name = field.removesuffix("_confidence")
    return TITLES.get(field) or titles[name] + (", %" if field != name else "")


def cells(rows: list[Row]) -> list[list[Any]]:
    return [[cell(field, value) for field, value in row.items()] for row in rows]


def cell(field: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return percentage(value) if field.endswith("_confidence") else round(value, 1)
    return "" if value is None else value


def summary_of(rows: list[Row], passed_over: int) -> str:
    failed = [f"{html.escape(str(row['file']))}: {html.escape(str(row['error']))}" for row in rows if row["error"]]
    summary = f"{len(rows) - len(failed)} of {len(rows)} files could be read."
    if passed_over:
        summary += f" Other files in zips that were passed over: {passed_over:,}."
    return summary + "".join(f"\n- {line}" for line in failed)
