"""The report beside a checkpoint, as a page may show it: it comes from whoever made the checkpoint."""

from __future__ import annotations

import html
from pathlib import Path

MAX_BYTES = 8_000_000
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# <base> makes its links to its own parts work, which else would lead to the page around it.
HEAD = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><base href="about:srcdoc">'
STYLE = "width: 100%; height: 80vh; border: 0; background: white"


def framed(report: Path) -> str:
    """HTML with the report in a frame of its own; a sentence if the report is too large.

    The empty sandbox keeps scripts, forms, windows and the page around it from the report, the policy whatever it does
    not hold itself.
    """
    if report.stat().st_size > MAX_BYTES:
        return f"The report is larger than {MAX_BYTES:,} bytes; open {html.escape(report.name)} in a browser."
    page = HEAD + report.read_text(encoding="utf-8", errors="replace")
    return f'<iframe title="Report" sandbox="" srcdoc="{html.escape(page)}" style="{STYLE}"></iframe>'
