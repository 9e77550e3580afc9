"""The page around a classifier."""

from __future__ import annotations

import gradio as gr

from fashion_model.app.many import many_tab
from fashion_model.app.report import report_tab
from fashion_model.app.single import single_tab
from fashion_model.app.uploads import MAX_ZIP
from fashion_model.classifier import FashionClassifier

TITLE = "Fashion Product Classifier"
MAX_QUEUE = 64  # requests
CSS = """
#gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
#gallery .thumbnail-lg { aspect-ratio: 3 / 4; background: white; padding-bottom: 4.6em; font-size: 12px; }
#gallery .thumbnail-lg > img { object-fit: contain; }
#gallery .caption-label { inset: auto 0 0; max-width: none; height: 4.6em; font-size: inherit; line-height: 1.3; }
#gallery .caption-label { white-space: normal; text-align: center; }
#table th { font-size: var(--text-sm); }
"""
LAUNCH = {"max_file_size": f"{MAX_ZIP}mb", "theme": gr.themes.Soft(), "css": CSS, "ssr_mode": False}


def build_demo(classifier: FashionClassifier, warning: str = "") -> gr.Blocks:
    """The page for `classifier`, ready to launch, with `warning` at the top."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.Markdown(
            f"# {TITLE}\nColor, product type, season of use and target gender of a fashion product, "
            "and where the network looked."
        )
        gr.Markdown(f"**{warning}**", visible=bool(warning), elem_id="warning")
        with gr.Tab("One photograph", elem_id="one"):
            single_tab(classifier)
        with gr.Tab("Many photographs", elem_id="many"):
            many_tab(classifier)
        if classifier.report:
            with gr.Tab("Report", elem_id="report") as tab:
                report_tab(classifier.report, tab)
        gr.Markdown(
            f"Checkpoint: **{classifier.name}** ({classifier.config.backbone}, "
            f"{classifier.config.image_size[0]}×{classifier.config.image_size[1]})",
            elem_id="checkpoint",
        )
    return demo.queue(max_size=MAX_QUEUE)
