"""The metrics of a split as Markdown tables, as `evaluate` prints them and the model card and README show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_model.attributes import Attribute
from train.evaluate.metrics import share_interval
from train.evaluate.split_metrics import SplitMetrics

METRICS = {
    "accuracy": "accuracy %",
    "top5_accuracy": "top-5 %",
    "balanced_accuracy": "balanced accuracy %",
    "macro_f1": "macro F1",
    "nll": "negative log-likelihood",
    "majority_share": "most frequent label %",
    "calibration_error": "calibration error %",
    "calibration_noise_floor": "its noise floor %",
}
COPIES = {
    "thumbnail": "the catalogue's thumbnail",
    "downsampled": "downsampled to 60×80",
    "jpeg30": "JPEG quality 30",
    "all": "all of them",
}
PERTURBATIONS = {
    "rotated": "rotated by 7°",
    "cropped": "a tenth of width and height cropped",
    "darker": "a quarter darker",
    "warmer": "white balance too warm",
    "on_color": "on a plain color",
    "on_clutter": "on synthetic clutter",
}
PHOTOGRAPHS = {
    "phone": "clothes, shoes and hats, taken with phones by {groups} people at home",
    "bags_and_watches": "bags and watches, in a studio",
    "clothes_on_models": "clothes on models, in a studio",
    "pasted": "the catalogue's accessories and the like, pasted on other backgrounds",
}
UNRELIABLE = ("crop", "mean")  # kinds of negatives without an interval: their images are not independent


def markdown(attributes: Sequence[Attribute], metrics: SplitMetrics, split: str) -> str:
    """All tables; photographs like those of users come first."""
    parts = photograph_tables(attributes, metrics)
    for title, found in (
        ("high-resolution catalogue photographs", metrics.high_resolution),
        ("catalogue thumbnails", metrics.thumbnails),
    ):
        if found:
            parts += [catalogue_table(attributes, found), catalogue_note(found, f"{split} split, {title}")]
        if "gates" in found:
            parts.append(gates_table(attributes, found["gates"], title))
    if metrics.agreement:
        agreement = {COPIES[copy]: found for copy, found in metrics.agreement.items()}
        parts.append(shares_table(attributes, "same label as the high-resolution photograph, %", agreement))
    if metrics.perturbations:
        perturbed = {
            f"{PERTURBATIONS[name]}, {found['images']:,} images": found for name, found in metrics.perturbations.items()
        }
        parts.append(shares_table(attributes, "accuracy on perturbed high-resolution photographs, %", perturbed))
    parts.append("In brackets 95 % intervals (bootstrap; of shares Wilson).")
    if metrics.negatives:
        parts.append(negatives_table(metrics))
    if metrics.rows_left_out:
        parts.append(f"Left out, because their pictures were trained on: {metrics.rows_left_out} rows.")
    return "\n\n".join(parts)


def photograph_tables(attributes: Sequence[Attribute], metrics: SplitMetrics) -> list[str]:
    """Empty if the data folder has no photographs beside the catalogue."""
    if not photograph_rows(attributes, metrics):
        return []
    parts = [photograph_table(attributes, metrics)]
    if metrics.phone:
        parts.append(confidence_table(attributes, metrics.phone["attributes"]))
        by_label = (metrics.phone.get("coarse_label") or {"by_label": {}})["by_label"]
        rows = [(label, f"{f['images']:,}", _interval(f["share"], f["interval"])) for label, f in by_label.items()]
        title = "phone photographs, by the contributor's label"
        parts.append(markdown_table((title, "images", "product type accepted %"), rows))
    return parts


def photograph_table(attributes: Sequence[Attribute], metrics: SplitMetrics) -> str:
    """The share of accepted predictions, one row a domain, and how to read it."""
    table = markdown_table(photograph_columns(attributes, metrics), photograph_rows(attributes, metrics))
    return f"{table}\n\n{photograph_note(metrics)}"


def photograph_columns(attributes: Sequence[Attribute], metrics: SplitMetrics) -> tuple[str, ...]:
    titles = (a.title for a in _photographed(attributes, metrics))
    return "prediction accepted, %", "images", *titles, "fashion or not"


def photograph_rows(attributes: Sequence[Attribute], metrics: SplitMetrics) -> list[tuple[str, ...]]:
    shown, rows = _photographed(attributes, metrics), []
    for domain, title in PHOTOGRAPHS.items():
        found = getattr(metrics, domain)
        if found:
            cells = [
                _interval(of["accuracy"], of["accuracy_interval"]) if (of := found["attributes"].get(a.name)) else ""
                for a in shown
            ]
            recognized = _interval(found["recognized"]["share"], found["recognized"]["interval"])
            rows.append((title.format(groups=found["groups"]), f"{found['images']:,}", *cells, f"{recognized} yes"))
    if metrics.everyday:
        rejected = metrics.everyday["rejected"]
        cells = [""] * len(shown)
        told = f"{_interval(rejected['share'], rejected['interval'])} no"
        rows.append(("everyday photographs without fashion products", f"{rejected['images']:,}", *cells, told))
    return rows


def photograph_note(metrics: SplitMetrics) -> str:
    """Shown below `photograph_table`."""
    notes = [
        "Fashion or not: how often the network is right that the image shows, or does not show, a fashion product."
    ]
    if metrics.bags_and_watches:
        notes.append("For bags any kind of bag is accepted.")
    if metrics.everyday:
        notes.append("The everyday photographs come from the same sources as those trained on.")
    if coarse := metrics.phone.get("coarse_label"):
        notes.append(
            "Which labels are accepted for phone photographs was decided by a multimodal model, not by people; the "
            f"product type fits the contributor's own label in {_interval(coarse['share'], coarse['interval'])} % of "
            f"{coarse['images']:,} photographs."
        )
    return f"{' '.join(notes)} In brackets 95 % intervals, bootstrapped over people, products and styles."


def _photographed(attributes: Sequence[Attribute], metrics: SplitMetrics) -> list[Attribute]:
    """The attributes that photographs have labels of."""
    labeled = {name for domain in PHOTOGRAPHS if domain != "pasted" for name in _attributes_of(metrics, domain)}
    labeled = labeled or set(_attributes_of(metrics, "pasted"))
    return [attribute for attribute in attributes if attribute.name in labeled]


def _attributes_of(metrics: SplitMetrics, domain: str) -> Mapping[str, Any]:
    return getattr(metrics, domain).get("attributes", {})


def confidence_table(attributes: Sequence[Attribute], found: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy, mean confidence and calibration error on phone photographs."""
    keys = ("accuracy", "confidence", "calibration_error")
    rows = [
        (a.title, *(_interval(found[a.name][key], found[a.name][f"{key}_interval"]) for key in keys))
        for a in attributes
        if a.name in found
    ]
    columns = ("phone photographs, %", "prediction accepted", "mean confidence", "calibration error")
    return markdown_table(columns, rows)


def catalogue_table(attributes: Sequence[Attribute], found: Mapping[str, Any]) -> str:
    """One row an attribute."""
    return markdown_table(("", *METRICS.values()), catalogue_rows(attributes, found))


def catalogue_rows(attributes: Sequence[Attribute], found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    of = found["attributes"]
    return [(a.title, *(_cell(of[a.name], name) for name in METRICS)) for a in attributes if a.name in of]


def catalogue_note(found: Mapping[str, Any], title: str) -> str:
    """Shown below `catalogue_table`."""
    return (
        f"{title}: {found['images']:,} images; negative log-likelihoods add up to {found['nll_sum']:.3f}; "
        f"{100 * found['recognized']:.1f} % recognized as fashion products; in brackets 95 % intervals; noise floor: "
        "the calibration error of perfect confidences on as many images."
    )


def shares_table(attributes: Sequence[Attribute], title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """`rows`: title → images, and a share by attribute name."""
    cells = [
        (row, *(_share(found[a.name], found["images"]) if a.name in found else "" for a in attributes))
        for row, found in rows.items()
    ]
    return markdown_table((title, *(a.title for a in attributes)), cells)


def gates_table(attributes: Sequence[Attribute], gates: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> str:
    """The mean weight of each expert for each attribute, and its standard deviation over the images."""
    rows = [
        (
            a.title,
            *(
                f"{100 * m:.1f} (±{100 * d:.1f})"
                for m, d in zip(gates[a.name]["mean"], gates[a.name]["deviation"], strict=True)
            ),
        )
        for a in attributes
    ]
    experts = [f"expert {number}" for number in range(1, len(rows[0]))]
    return markdown_table((f"gate weights on {title}, % (± standard deviation)", *experts), rows)


def negatives_table(metrics: SplitMetrics) -> str:
    """How often each kind of image without fashion products is rejected."""
    rows = [
        (
            kind if kind == "mean" else f"{kind}s",
            f"{found['images']:,}",
            f"{100 * found['share']:.1f}" if kind in UNRELIABLE else _share(found["share"], found["images"]),
        )
        for kind, found in metrics.negatives.items()
    ]
    note = "Blanks, charts, documents, noise and screenshots are drawn by the program that draws those trained on."
    return f"{markdown_table(('images without fashion products', 'images', 'rejected %'), rows)}\n\n{note}"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first `words` columns are left-aligned, the others right-aligned."""
    lines = [columns, ["---"] * words + ["---:"] * (len(columns) - words), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines)


def _interval(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _share(value: float, of: int) -> str:
    return _interval(value, share_interval(round(value * of), of))


def _cell(metrics: Mapping[str, Any], name: str) -> str:
    percent = "%" in METRICS[name]

    def text(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.3f}"

    if name not in metrics["intervals"] or name == "majority_share":
        return text(metrics[name])
    low, high = metrics["intervals"][name]
    return f"{text(metrics[name])} ({text(low)}–{text(high)})"
