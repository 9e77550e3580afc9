"""The figures of metrics.json as Markdown, as `evaluate` prints them and the README shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_model.attributes import ATTRIBUTES, attribute_named
from train.combinations import EXPECTED, HARDLY
from train.metrics import share_interval

FIGURES = {
    "accuracy": "accuracy %",
    "top5_accuracy": "top-5 %",
    "balanced_accuracy": "balanced accuracy %",
    "macro_f1": "macro F1",
    "cross_entropy": "cross-entropy",
    "calibration_error": "calibration error %",
    "calibration_error_by_chance": "by chance %",
}
COPIES = {
    "thumbnail": "the catalogue's thumbnail",
    "shrunk": "shrunk to 60×80",
    "jpeg30": "JPEG quality 30",
    "all": "all of them",
}
DISTURBANCES = {
    "rotated": "rotated by 7°",
    "cropped": "a tenth of width and height cropped away",
    "darker": "a quarter darker",
    "warmer": "white balance too warm",
    "on_color": "on a plain color",
    "on_clutter": "before a cluttered background",
}

SEASON_SHARES = {
    "labels": "their labels",
    "thumbnails": "answers to their thumbnails",
    "sharp": "answers to their sharp photographs",
}
# Crops are of the same few photographs, and the mean is one of shares, not of pictures.
WITHOUT_INTERVAL = {"no: crops", "no: mean of these"}
DRAWN_ALIKE = (
    "Blanks, charts, documents, noise and screenshots are drawn by the program that draws those of the training split."
)
ACCEPTED = {"thumbnails": "the catalogue's thumbnails", "sharp": "sharp photographs"} | DISTURBANCES


def markdown(metrics: Mapping[str, Any]) -> str:
    """All tables that `metrics` has figures for, those of pictures like visitors' first."""
    parts = visitors_tables(metrics["visitors"]) if metrics.get("visitors") else []
    kinds = ({"sharp photographs": metrics["sharp"]} if "sharp" in metrics else {}) | {"thumbnails": metrics}
    for kind, measured in kinds.items():
        title = "the catalogue's thumbnails" if kind == "thumbnails" else kind
        parts.append(figures_table(measured, f"{metrics['split']} split, {title}"))
        if "gates" in measured:
            parts.append(gates_table(measured["gates"], kind))
        if kind != "thumbnails":
            parts += sharp_tables(measured)
    if "fashion" in metrics:
        parts += [fashion_table(metrics["fashion"]), DRAWN_ALIKE]
    parts += [unlikely_pairs_line(measured["unlikely_pairs"], kind) for kind, measured in kinds.items()]
    if metrics["rows_left_out_as_trained_on"]:
        parts.append(f"Left out, as their pictures were trained on: {metrics['rows_left_out_as_trained_on']} rows.")
    return "\n\n".join(parts)


def visitors_tables(visitors: Mapping[str, Any]) -> list[str]:
    """What train.visitors measured."""
    parts = [visitors_table(visitors)]
    if "phone" in visitors:
        phone = visitors["phone"]
        parts.append(confidence_table(phone["attributes"]))
        coarse = phone["coarse_label"] or {"by_label": {}}
        rows = [
            (label, f"{found['photographs']:,}", _interval(found["share"], found["interval"]))
            for label, found in coarse["by_label"].items()
        ]
        title = "phone photographs, by what their contributors called the product"
        parts.append(markdown_table((title, "photographs", "product type accepted %"), rows))
    return parts


def visitors_table(visitors: Mapping[str, Any]) -> str:
    """The first answer accepted, %, one row a kind of picture, and how the labels came about."""
    return f"{markdown_table(VISITORS, visitors_rows(visitors))}\n\n{visitors_note(visitors)}"


def visitors_rows(visitors: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of `visitors_table`."""
    rows = []
    if "phone" in visitors:
        phone = visitors["phone"]
        title = f"clothes, shoes and hats, taken with phones by {phone['contributors']} people at home"
        rows.append(_visitors_row(title, phone))
    for kind, found in visitors.get("on_model", {}).items():
        rows.append(_visitors_row(f"{kind}, in a studio", found))
    if "composites" in visitors:
        title = "the catalogue's accessories and the like, pasted before other grounds"
        rows.append(_visitors_row(title, visitors["composites"]))
    if "everyday" in visitors:
        refused = visitors["everyday"]["refused"]
        rows.append(
            ("everyday pictures of no fashion", f"{refused['photographs']:,}", *_NOTHING, _told(refused, False))
        )
    return rows


def visitors_note(visitors: Mapping[str, Any]) -> str:
    """What stands below `visitors_table`."""
    notes = ["Fashion: how often it is rightly told that the picture shows a fashion product, or that it shows none."]
    if "on_model" in visitors:
        notes.append("Of bags any kind of bag is accepted.")
    if "everyday" in visitors:
        notes.append("The everyday pictures are of the same sources as those trained on.")
    if coarse := visitors.get("phone", {}).get("coarse_label"):
        notes.append(
            "Which names are accepted of the phone photographs was decided by a multimodal model, not by people; the "
            f"word that the contributors themselves chose is met by {_interval(coarse['share'], coarse['interval'])} % "
            f"of the product types ({coarse['photographs']:,} photographs)."
        )
    return f"{' '.join(notes)} In brackets 95 % intervals, for which people, products and styles are drawn anew."


ACCEPTED_OF = ("product_type", "gender", "color")  # the attributes that phone photographs have labels of
_NOTHING = ("",) * len(ACCEPTED_OF)
VISITORS = (
    "first answer accepted, %",
    "pictures",
    *(attribute_named(name).title for name in ACCEPTED_OF),
    "fashion or not",
)


def _title(name: str) -> str:
    return attribute_named(name).title


def _visitors_row(title: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [
        _interval(of["accuracy"], of["accuracy_interval"]) if (of := found["attributes"].get(name)) else ""
        for name in ACCEPTED_OF
    ]
    return title, f"{found['photographs']:,}", *cells, _told(found["recognised"], True)


def _told(found: Mapping[str, Any], fashion: bool) -> str:
    return f"{_interval(found['share'], found['interval'])} {'yes' if fashion else 'no'}"


def _interval(share: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * share:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def confidence_table(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """Of phone photographs: attribute → figures."""
    rows = [
        (
            _title(name),
            *(
                _interval(attributes[name][key], attributes[name][f"{key}_interval"])
                for key in ("accuracy", "confidence", "calibration_error")
            ),
        )
        for name in ACCEPTED_OF
        if name in attributes
    ]
    columns = ("phone photographs, %", "first answer accepted", "mean confidence", "calibration error")
    return markdown_table(columns, rows)


def sharp_tables(sharp: Mapping[str, Any]) -> list[str]:
    """What is measured on sharp photographs alone."""
    agreement = {title: (sharp["rows"], sharp["agreement"][copy]) for copy, title in COPIES.items()}
    disturbed = {
        f"{DISTURBANCES[name]}, {found['rows']:,} photographs": (found["rows"], found)
        for name, found in sharp["disturbances"].items()
        if found["rows"]
    }
    return [
        shares_table("same answer as to the sharp photograph, %", agreement),
        shares_table("accuracy on sharp photographs, %", disturbed),
        "In brackets 95 % intervals (Wilson).",
        kinds_table(sharp),
    ]


def figures_table(measured: Mapping[str, Any], title: str) -> str:
    """One row an attribute; 95 % intervals in brackets."""
    table = markdown_table(("", *FIGURES.values()), figures_rows(measured))
    return f"{table}\n\n{figures_note(measured, title)}"


def figures_rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of `figures_table`."""
    found = measured["attributes"]
    return [(a.title, *(_cell(found[a.name], name) for name in FIGURES)) for a in ATTRIBUTES]


def figures_note(measured: Mapping[str, Any], title: str) -> str:
    """What stands below `figures_table`."""
    sources = ", ".join(f"{count:,} from {source}" for source, count in measured.get("sources", {}).items())
    return (
        f"{title}: {measured['rows']:,} photographs{f' ({sources})' if sources else ''}; "
        f"the four cross-entropies together {measured['cross_entropy_sum']:.3f}; in brackets 95 % intervals; "
        "by chance: the calibration error that perfect confidences would show on so few photographs"
    )


def shares_table(title: str, rows: Mapping[str, tuple[int, Mapping[str, float]]]) -> str:
    """`rows`: what the row is about → of how many photographs, and attribute → share; 95 % intervals in brackets."""
    cells = [(row, *(_share(shares[a.name], count) for a in ATTRIBUTES)) for row, (count, shares) in rows.items()]
    return markdown_table((title, *(a.title for a in ATTRIBUTES)), cells)


def kinds_table(sharp: Mapping[str, Any]) -> str:
    """Markdown, from what metrics.json holds under `sharp`."""
    seasons = sharp["season_shares"]
    labels = list(seasons["labels"])
    title = f"{attribute_named('season').title}, share of the products with a sharp photograph, %"
    rows = [
        (SEASON_SHARES[kind], *(f"{100 * found[label]:.1f}" for label in labels)) for kind, found in seasons.items()
    ]
    table = markdown_table((title, *labels), rows)
    if sharp["kind_accuracy"] is None:
        return table
    return (
        f"{table}\n\nFrom the network's pooled features of a single photograph, a sharp one or a thumbnail, a linear "
        f"classifier says which it is in {100 * sharp['kind_accuracy']:.1f} % of cases; 50 % is chance."
    )


def gates_table(gates: Mapping[str, Mapping[str, Sequence[float]]], kind: str) -> str:
    """How much each attribute takes of each expert, on average over the photographs, and how much that varies."""

    def cells(gate: Mapping[str, Sequence[float]]) -> list[str]:
        return [f"{100 * m:.1f} (±{100 * d:.1f})" for m, d in zip(gate["mean"], gate["deviation"], strict=True)]

    rows = [(a.title, *cells(gates[a.name])) for a in ATTRIBUTES]
    experts = [f"expert {number}" for number in range(1, len(rows[0]))]
    title = f"taken of each expert on {kind}, % (± standard deviation)"
    return markdown_table((title, *experts), rows)


def fashion_table(fashion: Mapping[str, Any]) -> str:
    """What was accepted as a fashion product, and what was told from one."""
    titles = {f"yes: {ACCEPTED[kind]}": found for kind, found in fashion["accepted"].items()}
    titles |= {f"no: {'mean of these' if k == 'mean' else k + 's'}": found for k, found in fashion["flagged"].items()}
    cells = [
        (
            title,
            f"{f['pictures']:,}",
            f"{100 * f['share']:.1f}" if title in WITHOUT_INTERVAL else _share(f["share"], f["pictures"]),
        )
        for title, f in titles.items()
    ]
    return markdown_table(("is it a fashion product?", "pictures", "right %"), cells)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first `words` columns are flush left, the others, of numbers, flush right. An empty name takes one space."""
    lines = [columns, ["---"] * words + ["---:"] * (len(columns) - words), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines)


def unlikely_pairs_line(found: Mapping[str, Any], kind: str) -> str:
    """On the pairs of product type and gender that training rows hardly ever have though their labels are common.

    `found`: see `Combinations.figures`.
    """
    examples = ", ".join(f"{' for '.join(e['labels'])} ({e['count']})" for e in found["frequent"])
    return (
        f"By the frequency of their labels, {found['pairs']} pairs of product type and gender should each occur in "
        f"{EXPECTED} training rows or more, but occur in fewer than {100 * HARDLY:.0f} % of the rows expected. "
        f"On {kind} they are {100 * found['answers']:.2f} % of the answers and {100 * found['labels']:.2f} % of the "
        f"labels{'; most often: ' if examples else ''}{examples}."
    )


def _share(share: float, of: int) -> str:
    low, high = share_interval(round(share * of), of)
    return f"{100 * share:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _cell(figures: Mapping[str, Any], name: str) -> str:
    percent = "%" in FIGURES[name]

    def text(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.3f}"

    if name not in figures["intervals"]:
        return text(figures[name])
    low, high = figures["intervals"][name]
    return f"{text(figures[name])} ({text(low)}–{text(high)})"
