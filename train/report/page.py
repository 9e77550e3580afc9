"""Render the report as one HTML page with embedded pictures and without scripts."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.report.document import Block, Report

TEMPLATE = "page.html.jinja"


def to_html(report: Report) -> str:
    # Labels and names come from the data; autoescape keeps them text.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"data_uri": _data_uri, "kind": _kind}
    return environment.get_template(TEMPLATE).render(report=report)


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _kind(block: Block) -> str:
    return type(block).__name__
