"""The tab for many photographs: the functions of its events, then layout and wiring."""

import html
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from fashion_model.app.answer import answer_html, smaller
from fashion_model.app.disk import jpeg_file, result_file
from fashion_model.app.gradio_private import no_tool
from fashion_model.app.sentences import HINTS, caption_of, main_attribute, percentage
from fashion_model.app.uploads import LIMITS, File, Upload, photographs, received_files
from fashion_model.app.visit import EXAMPLES
from fashion_model.attributes import IS_FASHION, Attribute
from fashion_model.classifier import DETAIL, PRODUCT_DETAIL, WORKERS, FashionClassifier, in_parallel, part_of
from fashion_model.images import ImageError
from fashion_model.rows import Row, csv_of, fields_of, json_line, rows_of

EACH = 8  # photographs between two updates of the page
SHOWN = 200  # rows and pictures while a batch is labelled
MAX_BATCH_SECONDS = 360  # of one batch; to find the products of a photograph takes up to half a second
TOO_LONG = f"The photographs took more than {MAX_BATCH_SECONDS // 60} minutes; please send the rest again."
THUMBNAIL = 240  # pixels
LEAST = "least_confidence"  # of a row's labels, which shows where to look
TITLES = {
    LEAST: "Least sure, %",
    "file": "File",
    "error": "Not read because",
    "is_fashion": "Fashion?",
    "fashion_score": "Fashion score",
    "fashion_threshold": "Least score",
}
NO_FILE = gr.update(value=None, interactive=False)
EMPTY: tuple[Any, ...] = (None, None, NO_FILE, "", NO_FILE, [])  # table, gallery, CSV, summary, JSON Lines, places


class ManyEvents:
    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier
        self.names = [attribute.name for attribute in classifier.attributes]

    @no_tool
    def predict_batch(
        self,
        files: list[File] | None,
        products: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio hands it over)
    ) -> Iterator[tuple[Any, ...]]:
        """Color, product type, season and gender of many photographs, and of those in zips.

        Args:
            files: photographs and zips of photographs
            products: whether to find the products in each photograph; each of them is a row

        Returns:
            table, one row a photograph or product, with an error where it could not be read; gallery, thumbnails with
            captions; csv, the table as a file; summary, sentences; json_lines, the table as another file
        """
        if not isinstance(products, bool | None):  # clients send anything
            raise gr.Error("products has to be true or false.")
        if products:
            self.classifier.check_finder()
        rows: list[Row] = []
        gallery: list[tuple[str, str]] = []  # paths and captions
        places: list[tuple[int, int]] = []  # the gallery's pictures: indices of the file, and of the product in it
        start = time.monotonic()

        with photographs(received_files(files)) as (uploads, passed_over):
            for done, (of_file, pictures) in enumerate(self._labelled(uploads, products), 1):
                rows += of_file
                gallery += [(str(jpeg_file(image, "thumbnail.jpeg")), caption) for image, caption in pictures]
                places += [(done - 1, product) for product in range(len(pictures))]
                progress((done, len(uploads)), unit="photographs")
                if done % EACH == 0:
                    left = (time.monotonic() - start) / done * (len(uploads) - done)
                    so_far = f"{done} of {len(uploads)} files, about {left:.0f} seconds left."
                    # All of it is sent each time, so only the first ones.
                    shown = table_of(rows[:SHOWN], self.classifier.attributes, products), gallery[:SHOWN]
                    yield *shown, None, so_far, None, places[:SHOWN]
        csv = result_file("predictions.csv", csv_of(rows, fields_of(self.names, products)).encode())
        json_lines = result_file("predictions.jsonl", "".join(map(json_line, rows)).encode())
        summary = summary_of(rows, len(uploads), passed_over, main_attribute(self.names))
        table = table_of(rows, self.classifier.attributes, products)
        yield table, gallery, str(csv), summary, str(json_lines), places

    def begin(self, files: list[File] | None, products: bool, asked: list[Any]) -> tuple[Any, ...]:
        """For the page: empty it, and remember what it asks, which ends a batch that was asked for before."""
        asked[:] = files, products
        return *EMPTY, ""

    def label(
        self,
        files: list[File] | None,
        products: bool,
        asked: list[Any],
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """`predict_batch` for the page, as long as it asks for this; its files can be saved at the end."""
        if not files or asked != [files, products]:
            yield tuple(gr.skip() for _ in EMPTY)  # gradio empties the page after a generator without anything
            return
        for *shown, csv, summary, json_lines, places in self.predict_batch(files, products, progress):
            if asked != [files, products]:
                yield EMPTY  # what comes last is shown again at the end
                return
            csv, json_lines = (gr.update(value=path, interactive=bool(path)) for path in (csv, json_lines))
            yield *shown, csv, summary, json_lines, places
        asked.clear()  # two changes at the same moment ask the same

    def _labelled(
        self, uploads: Sequence[Upload], products: bool
    ) -> Iterator[tuple[list[Row], list[tuple[Image.Image, str]]]]:
        """The rows of each upload, and its pictures with captions, as they come."""
        end = time.monotonic() + MAX_BATCH_SECONDS

        def label(upload: Upload) -> tuple[list[Row], list[tuple[Image.Image, str]]]:
            name, read = upload
            try:
                if time.monotonic() > end:
                    raise ImageError(TOO_LONG)
                photograph = read(PRODUCT_DETAIL if products else DETAIL)
            except ImageError as error:
                return rows_of(name, error, self.names, products), []
            if not products:
                prediction, _ = self.classifier.predict_and_map(photograph, 0)
                return rows_of(name, prediction, self.names), [(smaller(photograph, THUMBNAIL), caption_of(prediction))]
            shown = [product for product, _, _ in self.classifier.find_and_map(photograph, 0)]
            found = [product for product in shown if product.prediction.is_fashion]
            parts = [smaller(part_of(photograph, product.box), THUMBNAIL) for product in shown]
            pictures = list(zip(parts, (caption_of(product.prediction) for product in shown), strict=True))
            return rows_of(name, found, self.names, products), pictures

        return in_parallel(label, uploads, WORKERS)

    def open_one(
        self, event: gr.SelectData, files: list[File] | None, places: list[tuple[int, int]], products: bool
    ) -> str:
        """The answer for the photograph of a thumbnail, at its product."""
        file, product = places[event.index]
        with photographs(received_files(files)) as (uploads, _):
            name, read = uploads[file]
            return answer_html(self.classifier, name, read(PRODUCT_DETAIL), products=bool(products), chosen=product)


def many_tab(classifier: FashionClassifier) -> None:
    gr.HTML(f'<p class="limits">{LIMITS}</p><p class="limits" id="preparing" role="status"></p>')
    files = gr.File(label="Photographs or zips", file_count="multiple", height=180, elem_id="files")
    with gr.Row():
        examples = gr.Button("Use the examples", size="sm", elem_id="use-examples")
        products = gr.Checkbox(
            bool(classifier.finder),
            label="Every product in each photograph",
            visible=bool(classifier.finder),
            elem_id="products",
        )
    summary = gr.Markdown("", label="summary", elem_id="summary", container=False)
    with gr.Row(elem_id="downloads"):
        csv = gr.DownloadButton("Save CSV", interactive=False, size="sm", elem_id="csv")
        json_lines = gr.DownloadButton("Save JSON Lines", interactive=False, size="sm", elem_id="json-lines")
    plain = {"show_label": False, "interactive": False}
    gallery = gr.Gallery(
        label="gallery", format="jpeg", height="auto", allow_preview=False, buttons=[], elem_id="gallery", **plain
    )
    opened = gr.HTML(elem_id="opened", apply_default_css=False)
    pairs = ["110px", "80px"] * len(classifier.attributes)  # label and confidence
    table = gr.Dataframe(
        headers=table_of([], classifier.attributes, products=False)["headers"],
        label="table",
        wrap=True,
        column_widths=["180px", "90px", "90px", *pairs, "200px", *["90px"] * 8],
        max_height=480,
        show_search="filter",
        elem_id="table",
        **plain,
    )

    events, places, asked = ManyEvents(classifier), gr.State([]), gr.State([])
    outputs = [table, gallery, csv, summary, json_lines, places]
    private: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
    batch: dict[str, Any] = {"outputs": outputs, "show_progress_on": summary, "concurrency_id": "many"}  # one at a time
    # Whatever changes the files or the question ends a batch and begins another. By default gradio leaves out what
    # comes while the same event is in progress; with "multiple" one change could overtake the one before it.
    change: dict[str, Any] = {"inputs": [files, products, asked], **private}
    begun = gr.on(
        [files.change, products.input],
        fn=events.begin,
        outputs=[*outputs, opened],
        trigger_mode="always_last",
        show_progress="hidden",
        **change,
    )
    begun.then(fn=events.label, trigger_mode="multiple", **batch, **change)
    examples.click(fn=lambda: list(map(str, EXAMPLES)), outputs=files, **private)
    asked_by_api = [files, gr.Checkbox(False, label="products", visible=False)]
    gr.Button(visible=False).click(
        fn=events.predict_batch, inputs=asked_by_api, preprocess=False, api_name="predict_batch", **batch
    )
    gallery.select(fn=events.open_one, inputs=[files, places, products], outputs=opened, **private)


def table_of(rows: Sequence[Row], attributes: Sequence[Attribute], products: bool) -> dict[str, Any]:
    """Headers and cells. Rows that show no product have no labels."""
    titles = {a.name: a.title for a in attributes}
    percents = {f"{name}_confidence": f"{title}, %" for name, title in titles.items()}
    fields = [field for field in fields_of(list(titles), products) if field not in ("file", IS_FASHION)]
    fields = ["file", IS_FASHION, LEAST, *fields]
    cells = []
    for row in rows:
        shown: dict[str, Any] = row if row[IS_FASHION] else row | dict.fromkeys((*titles, *percents))
        sure = [shown[f"{name}_confidence"] for name in titles if name not in HINTS]
        shown = shown | {LEAST: min((p for p in sure if p is not None), default=None)}
        cells.append([cell(field, shown[field]) for field in fields])
    headers = TITLES | titles | percents
    return {"headers": [headers.get(field) or field.capitalize() for field in fields], "data": cells}


def cell(field: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return percentage(value) if field.endswith("_confidence") else round(value, 2)
    return "" if value is None else value


def summary_of(rows: Sequence[Row], files: int, passed_over: int, main: str) -> str:
    """How many files could be read, how many products of each type there are, and what is wrong with the others."""
    failed = [f"{html.escape(str(row['file']))}: {html.escape(str(row['error']))}" for row in rows if row["error"]]
    lines = [f"{files - len(failed)} of {files} files could be read."]
    counts = Counter(str(row[main]) for row in rows if row[IS_FASHION])
    lines += [", ".join(f"{label} {count}" for label, count in counts.most_common()) + "."] if counts else []
    without = sum(row[IS_FASHION] is False for row in rows)
    lines += [f"No fashion product: {without}."] if without else []
    lines += [f"Other files in zips that were passed over: {passed_over:,}."] if passed_over else []
    return " ".join(lines) + "".join(f"\n- {line}" for line in failed)
