"""The tab for one photograph: plain HTML and JavaScript, which is there before gradio is and needs nothing of it."""

import html
import os
import re
from pathlib import Path

from fashion_model.app.answer import render
from fashion_model.app.sentences import STATIC
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.system import read_json

TITLE = "Fashion Product Classifier"
DESCRIPTION = "Color, product type, season and target gender of the fashion products in a photograph"
EXAMPLES_FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLE_TEXTS = read_json(STATIC / "examples.json")  # file name → caption
EXAMPLES = [EXAMPLES_FOLDER / name for name in EXAMPLE_TEXTS]
FIRST = "street-1-outfit.jpg"  # what the page opens with
PREVIEW = f"examples/{FIRST}"  # the picture of a link to the page
PLACE = '<div id="place"></div>'  # where the visit goes as soon as gradio has drawn its tabs
STYLE = (STATIC / "page.css").read_text(encoding="utf-8")
SCRIPT = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in ("visit.js", "answer.js", "page.js"))
GRADIOS_FACTS = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>')
BODY = re.compile("<body[^>]*>")
SPACE = "SPACE_ID"  # Hugging Face sets the environment variable to user/name


def index(page: str, address: str) -> str:
    """Gradio's HTML of the page at `address`, with the visit, and with what a preview of a link shows."""
    space = os.environ.get(SPACE)
    source = f"https://huggingface.co/spaces/{space}/tree/main" if space else "#/code"
    values = {"examples": EXAMPLE_TEXTS, "max_bytes": MAX_BYTES, "too_large": TOO_LARGE, "first": FIRST}
    visit = render("visit", source=source, **values)
    facts = {"og:title": TITLE, "og:description": DESCRIPTION, "og:type": "website", "og:url": f"{address}/"}
    facts |= {"og:image": f"{address}/{PREVIEW}", "twitter:card": "summary_large_image"}
    tags = "".join(f'<meta property="{name}" content="{html.escape(value)}">' for name, value in facts.items())
    tags += f'<meta name="description" content="{DESCRIPTION}">'
    page = GRADIOS_FACTS.sub("", page).replace("ADDRESS", html.escape(address))  # in the code that gradio's HTML holds
    page = page.replace("</head>", f"{tags}<style>{STYLE}</style></head>", 1)
    return BODY.sub(lambda body: f"{body[0]}{visit}<script>(() => {{{SCRIPT}}})();</script>", page, count=1)
