"""The tab "Use it from code", and the code for one request. `ADDRESS` stands for the app's address."""

from __future__ import annotations

import html
import json
import re

import gradio as gr

ADDRESS = "ADDRESS"  # page.js puts in the app's own
PYTHON = """from gradio_client import Client, handle_file

client = Client("ADDRESS")
color, product_type, season, gender, overlay, *_ = client.predict(handle_file(FILE), api_name="/predict")
print(product_type["label"], product_type["confidences"])
print(overlay)  # the path of an image"""
CURL = """curl -F file=@FILE ADDRESS/predict"""
JAVASCRIPT = """const form = new FormData();
form.append("file", photograph, "photograph.jpg");  // a File or a Blob
const answer = await (await fetch("ADDRESS/predict", { method: "POST", body: form })).json();
console.log(answer.product_type.label, answer.overlay);"""
BATCH = """from gradio_client import Client, handle_file

client = Client("ADDRESS")
table, *_ = client.predict([handle_file(FILE)], api_name="/predict_batch")
print(table["data"])"""
MCP = "ADDRESS/gradio_api/mcp/"
EXAMPLE = "photograph.jpg"


def python_code(file: str) -> str:
    return PYTHON.replace("FILE", json.dumps(file, ensure_ascii=False))


def curl_code(file: str) -> str:
    """For bash. A file name with quotes or the like is quoted for curl, then for the shell."""
    if re.fullmatch(r"[\w.-]+", file):
        return CURL.replace("FILE", file)
    for_curl = 'file=@"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return CURL.replace("file=@FILE", "'" + for_curl.replace("'", "'\\''") + "'")


def code_tab() -> None:
    blocks = (
        ("Python", "python", python_code(EXAMPLE), "<code>pip install gradio_client</code> first."),
        ("curl", "curl", curl_code(EXAMPLE), "One request, one JSON document with labels and the overlay's address."),
        ("JavaScript", "javascript", JAVASCRIPT, ""),
        ("Many photographs, Python", "batch", BATCH.replace("FILE", json.dumps(EXAMPLE)), ""),
        ("MCP", "mcp", MCP, "Paste this address into an MCP client: its tools classify and explain photographs."),
    )
    gr.HTML(
        "".join(
            f'<section class="code"><h2>{title}</h2><p>{text}</p>'
            f'<pre tabindex="0" data-code="{name}">{html.escape(code)}</pre>'
            f'<button data-copy-code="{name}">Copy</button></section>'
            for title, name, code, text in blocks
        )
        + '<p>All endpoints, inputs and outputs: <a href="?view=api">API of this app</a>.</p>',
        elem_id="code-blocks",
    )
