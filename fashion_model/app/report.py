"""The tab with the checkpoint's report, an untrusted page."""

from __future__ import annotations

import html
from pathlib import Path

import gradio as gr

MAX_BYTES = 8_000_000
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Without <base>, links to its own sections would lead to the page around it.
HEAD = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><base href="about:srcdoc">'
STYLE = "width: 100%; height: 80vh; border: 0; background: white"


def report_tab(report: Path, tab: gr.Tab) -> None:
    """Reports have megabytes: they are read and sent when the tab is opened."""
    frame = gr.HTML()
    tab.select(fn=lambda: framed(report), inputs=None, outputs=frame, api_visibility="private")


def framed(report: Path) -> str:
    """HTML with the report in a frame of its own; a sentence if the report is too large.

    The empty sandbox attribute forbids scripts, forms, windows and access to the surrounding page; the policy forbids
    everything that the report does not contain itself.
    """
    if report.stat().st_size > MAX_BYTES:
        return f"The report is larger than {MAX_BYTES:,} bytes; open {html.escape(report.name)} in a browser."
    page = HEAD + report.read_text(encoding="utf-8", errors="replace")
    return f'<iframe title="Report" sandbox="" srcdoc="{html.escape(page)}" style="{STYLE}"></iframe>'
