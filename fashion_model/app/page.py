"""The page around the classifier, its settings, and its start."""

import html
import os
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from fashion_model.app.answer import curl_code, python_code, render
from fashion_model.app.api import add_api
from fashion_model.app.gradio_private import Page, set_up_mcp
from fashion_model.app.many import many_tab
from fashion_model.app.quality import in_words
from fashion_model.app.routes import Guard, Routes
from fashion_model.app.uploads import MAX_ZIP
from fashion_model.app.visit import EXAMPLES_FOLDER, PLACE, TITLE
from fashion_model.classifier import FashionClassifier

EXAMPLE = "photograph.jpg"  # in the code that the page shows
MAX_QUEUE = 64  # requests
STATUS_SECONDS = 5  # between two messages about a request's position in the queue
MAX_SESSIONS = 1000  # of visitors and requests; each holds about 100 kB
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")
# No font from another host, and more contrast than the theme has: at least 4.5.
THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_label_text_color="*primary_700",
    block_title_text_color="*primary_700",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    checkbox_border_color="*neutral_500",
    link_text_color_dark="*primary_300",
    link_text_color_hover_dark="*primary_200",
    link_text_color_visited_dark="*primary_300",
    link_text_color_active_dark="*primary_300",
)


def build_page(classifier: FashionClassifier, warning: str = "") -> gr.Blocks:
    """The page for `classifier`, with `warning` at the top."""
    with Page(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
        gr.Markdown(f"**{warning}**", visible=bool(warning), elem_id="warning")
        with gr.Tab("Photograph", elem_id="one"):
            gr.HTML(PLACE, apply_default_css=False)
        with gr.Tab("Many", elem_id="many"):
            many_tab(classifier)
        with gr.Tab("How good is it?", elem_id="good"):
            gr.HTML(in_words(classifier), elem_id="quality")
        with gr.Tab("Code", elem_id="code"):
            code = {"python": python_code(EXAMPLE), "curl": curl_code(EXAMPLE), "file": EXAMPLE}
            gr.HTML(render("code", **code), elem_id="code-blocks")
        gr.HTML(f'<p class="checkpoint">{html.escape(checkpoint_line(classifier))}</p>', elem_id="checkpoint")
        add_api(classifier)
    # Every request waits in the queue. With "auto" as its rate the queue would end for everyone where a new session
    # pushes out one that waits: gradio keeps 2,000.
    return page.queue(max_size=MAX_QUEUE, api_open=False, status_update_rate=STATUS_SECONDS)


def launch(classifier: FashionClassifier, warning: str = "", **options: Any) -> tuple[gr.Blocks, str]:
    """Start the page and its routes in the background; the page and its address."""
    page = build_page(classifier, warning)
    reach_loopback_directly()
    _, address, _ = page.launch(
        prevent_thread_lock=True,
        app_kwargs={"middleware": [Middleware(Guard)], "routes": Routes(classifier).all()},
        max_file_size=f"{MAX_ZIP}mb",
        theme=THEME,
        ssr_mode=False,
        mcp_server=True,
        allowed_paths=[str(EXAMPLES_FOLDER)],
        state_session_capacity=MAX_SESSIONS,
        footer_links=["api"],  # the button of the tab "Code" presses it
        **options,
    )
    set_up_mcp(page)
    return page, address


def reach_loopback_directly() -> None:
    """Gradio asks its own address whether it has started; a proxy would not find it."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if given != "*":
        hosts = dict.fromkeys([*given.split(","), *LOOPBACK, os.environ.get("GRADIO_SERVER_NAME", "")])
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, hosts))


def checkpoint_line(classifier: FashionClassifier) -> str:
    height, width = classifier.config.image_size
    return f"Model: {classifier.name} ({classifier.config.backbone}, {height}×{width})"
