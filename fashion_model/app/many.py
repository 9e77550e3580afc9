"""The tab for many photographs: layout, then wiring."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from fashion_model.app.answer import error_html
from fashion_model.app.disk import jpeg_file, result_file
from fashion_model.app.examples import EXAMPLES
from fashion_model.app.gate import LISTENERS
from fashion_model.app.handlers import (
    File,
    answer_for,
    classifier_named,
    label_all,
    not_a_tool,
    photograph_at,
    refused,
)
from fashion_model.app.loading import Models
from fashion_model.app.result import caption, percentage
from fashion_model.app.uploads import MAX_BYTES, MAX_PHOTOGRAPHS, MAX_ZIP
from fashion_model.images import ImageError
from fashion_model.rows import Row, csv_of, fields_of, json_lines_of, row_of

LIMITS = f"At most {MAX_PHOTOGRAPHS} photographs of up to {MAX_BYTES // 2**20} MB; a zip up to {MAX_ZIP} MB."
EACH = 8  # photographs between two updates of the page


def many_tab(models: Models, model: gr.Dropdown) -> None:
    names = [attribute.name for attribute in models.first.attributes]
    titles = {a.name: a.title for a in models.first.attributes}

    def predict_batch(
        files: list[File] | None,
        model: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio hands it over)
    ) -> Iterator[tuple[Any, ...]]:
        """Color, product type, season and gender of many photographs, and of those in zips.

        Args:
            files: photographs and zips of photographs
            model: one of the models that /model lists; the first one if empty

        Returns:
            table, one row a photograph, with an error where it could not be read; gallery, thumbnails with captions;
            csv, the table as a file; summary, a sentence; json_lines, the table as another file
        """
        classifier = classifier_named(models, model)
        rows: list[Row] = []
        gallery: list[tuple[str, str]] = []  # paths and captions
        readable: list[int] = []  # places of the gallery's photographs among the files

        nobody_listens = LISTENERS.patience(request.session_hash)

        def tick(read: int, total: int) -> None:
            progress((read, total), unit="photographs")

        for name, result, thumbnail in label_all(classifier, files, tick):
            rows.append(row_of(name, result, names))
            if not isinstance(result, ImageError):
                gallery.append((jpeg_file(thumbnail), caption(result)))
                readable.append(len(rows) - 1)
            if len(rows) % EACH == 0:
                if nobody_listens():
                    raise refused("Nobody waited for the answer.")
                yield cells(rows), gallery, None, f"{len(rows)} files so far.", None, readable
        csv, json_lines = as_files(rows)
        yield cells(rows), gallery, csv, summary_of(rows), json_lines, readable

    def as_files(rows: list[Row]) -> tuple[str, str]:
        csv, json_lines = csv_of(rows, names), json_lines_of(rows, names)
        return result_file("predictions.csv", csv.encode()), result_file("predictions.jsonl", json_lines.encode())

    def open_one(event: gr.SelectData, files: list[File] | None, readable: list[int], model: str | None) -> str:
        """The answer for the photograph of a thumbnail."""
        try:
            name, photograph = photograph_at(files, readable[event.index])
            return answer_for(classifier_named(models, model), name, photograph).to_html()
        except gr.Error as error:
            return error_html(error.message)

    gr.HTML(f'<p class="limits">{LIMITS}</p>')
    files = gr.File(label="Photographs or zips", file_count="multiple", height=180, elem_id="files")
    examples = gr.Button("Use the examples", size="sm", elem_id="use-examples")
    summary = gr.Markdown("", label="summary", elem_id="summary", container=False)
    with gr.Row(elem_id="downloads"):
        csv = gr.DownloadButton("Save CSV", interactive=False, size="sm", elem_id="csv")
        json_lines = gr.DownloadButton("Save JSON Lines", interactive=False, size="sm", elem_id="json-lines")
    gallery = gr.Gallery(
        label="gallery", show_label=False, format="jpeg", height="auto", interactive=False, allow_preview=False,
        buttons=[], elem_id="gallery",
    )  # fmt: skip
    opened = gr.HTML(elem_id="opened")
    table = gr.Dataframe(
        headers=headers(names, titles),
        label="table",
        show_label=False,
        wrap=True,
        column_widths=["180px", *["110px", "80px"] * len(names), "200px", "90px"],
        max_height=480,
        interactive=False,
        show_search="filter",
        elem_id="table",
    )

    readable = gr.State([])
    outputs = [table, gallery, csv, summary, json_lines, readable]
    asked = {"inputs": [files, model], "outputs": outputs, "preprocess": False, "show_progress_on": summary}
    asked |= {"concurrency_id": "many"}  # one visitor's at a time
    first = files.upload(fn=not_a_tool(predict_batch), api_name="predict_batch", **asked)
    picked = examples.click(
        fn=lambda: [str(e.path) for e in EXAMPLES.values()], outputs=files, api_visibility="private"
    ).then(fn=predict_batch, api_visibility="private", **asked)
    for event in (first, picked):
        event.success(fn=lambda: [gr.update(interactive=True)] * 2, outputs=[csv, json_lines], api_visibility="private")
    no_file = gr.update(value=None, interactive=False)
    empty: tuple[Any, ...] = (None, None, no_file, "", no_file, [], "")
    files.clear(fn=lambda: empty, outputs=[*outputs, opened], api_visibility="private")
    shown = gallery.select(
        fn=open_one, inputs=[files, readable, model], outputs=opened, preprocess=False, api_visibility="private"
    )
    shown.then(fn=None, js="() => document.getElementById('opened').scrollIntoView({ behavior: 'smooth' })")


def headers(names: list[str], titles: dict[str, str]) -> list[str]:
    return [readable_name(field, titles) for field in fields_of(names)]


def readable_name(field: str, titles: dict[str, str]) -> str:
    name = field.removesuffix("_confidence")
    special = {"file": "File", "error": "Not read because", "is_fashion": "Fashion?"}
    special |= {"fashion_score": "Fashion score", "fashion_threshold": "Least score"}
    return special.get(field) or titles[name] + (", %" if field != name else "")


def cells(rows: list[Row]) -> list[list[Any]]:
    return [[cell(field, value) for field, value in row.items()] for row in rows]


def cell(field: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return percentage(value) if field.endswith("_confidence") else round(value, 1)
    return "" if value is None else value


def summary_of(rows: list[Row]) -> str:
    failed = [f"{html.escape(str(row['file']))}: {html.escape(str(row['error']))}" for row in rows if row["error"]]
    read = f"{len(rows) - len(failed)} of {len(rows)} files could be read."
    return read + "".join(f"\n- {line}" for line in failed)
