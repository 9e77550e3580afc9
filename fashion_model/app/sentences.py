"""What is in a photograph, in plain English, and how far it can be trusted."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fashion_model.attributes import PRODUCT_TYPE
from fashion_model.predictions import Prediction, Product

STATIC = Path(__file__).parent / "static"
HINTS = {"season": "a photograph does not show it"}  # attributes that are hints at best, and why
SURE, MIN_CONFIDENCE = 0.7, 0.4
ALMOST_CERTAIN = 0.9  # of the type of a photograph that is refused

ADVICE = "One product that fills the picture, on a plain ground, works best."
NOT_FASHION = "This does not look like a fashion product."


def sentence_of(prediction: Prediction, advice: str = ADVICE) -> str:
    """What the network sees in a photograph of one product; `advice` follows where that is hard to tell."""
    main = prediction[main_attribute(prediction.attributes)]
    if not prediction.is_fashion:
        if main.confidence >= ALMOST_CERTAIN:
            words = prediction.words.with_article(main.label, prediction.words.name_of(main.label))
            return f"Perhaps not a fashion product; if it is, {words}."
        return f"{NOT_FASHION} {advice}".strip()
    hard = main.confidence < MIN_CONFIDENCE
    text = phrase(prediction, hedged=not hard)
    if "gender" in prediction.attributes:
        text += f", {for_whom(prediction, hedged=not hard)}"
    if hard:
        return f"Hard to tell; perhaps {text}. {advice}".strip()
    return f"{text[0].upper()}{text[1:]}." if main.confidence >= SURE else f"Looks like {text}."


def sentence_of_products(products: Sequence[Product]) -> str:
    """What the network sees in a photograph, from top to bottom, such as `A black jacket and brown boots, for women.`

    Whom they are for is said if that is the same for all.
    """
    if not products:
        return f"{NOT_FASHION} {ADVICE}"
    if len(products) == 1:
        return sentence_of(products[0].prediction)
    predictions = [product.prediction for product in sorted(products, key=lambda product: product.box[1])]
    names = predictions[0].attributes
    main = main_attribute(names)
    phrases = {phrase(p, hedged=False): "" if p[main].confidence >= SURE else "perhaps " for p in predictions}
    *first, last = [before + text for text, before in phrases.items()]
    text = f"{', '.join(first)} and {last}" if first else last
    if "gender" in names and len(whom := {for_whom(p) for p in predictions}) == 1:
        text += f", {whom.pop()}"
    return f"{text[0].upper()}{text[1:]}."


def main_attribute(names: Collection[str]) -> str:
    """Its confidence decides how the sentence begins: the product type, or the first attribute."""
    return PRODUCT_TYPE if PRODUCT_TYPE in names else next(iter(names))


def phrase(prediction: Prediction, hedged: bool = True) -> str:
    """Color and product: `a red T-shirt`; with doubts if it is `hedged`: `grey, perhaps taupe, trousers`."""
    main = main_attribute(prediction.attributes)
    label = prediction[main].label
    words = prediction.words.name_of(label)
    if "color" in prediction.attributes and main != "color":
        words = f"{color_in_words(prediction, hedged)} {words}"
    return prediction.words.with_article(label, words)


def color_in_words(prediction: Prediction, hedged: bool) -> str:
    color, words = prediction["color"], prediction.words.plural
    first, *second = (words.get(label, label.lower()) for label, _ in color.top(2))
    return first if color.confidence >= SURE or not second or not hedged else f"{first}, perhaps {second[0]},"


def for_whom(prediction: Prediction, hedged: bool = True) -> str:
    gender = prediction["gender"]
    label = prediction.words.plural.get(gender.label, gender.label.lower())
    return f"{'perhaps ' if hedged and gender.confidence < SURE else ''}for {label}"


def percentage(probability: float) -> int:
    """From 1 to 99: no prediction is certain."""
    return min(max(round(100 * probability), 1), 99)


def caption_of(prediction: Prediction) -> str:
    """The caption of a thumbnail: the labels with their confidences."""
    if not prediction.is_fashion:
        return "No fashion product?"
    shown = {name: p for name, p in prediction.attributes.items() if name not in HINTS}
    return " · ".join(f"{p.label} {percentage(p.confidence)} %" for p in shown.values())
