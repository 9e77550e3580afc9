"""The example photographs, by file name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Example:
    path: Path
    text: str  # what it shows


_TEXTS = {
    "phone-1-black-shoes.jpg": "Black shoes on a floor",
    "phone-2-green-dress.jpg": "A green dress",
    "phone-3-checked-shirt.jpg": "A checked shirt",
    "phone-4-small-trousers.jpg": "A baby's trousers",
    "phone-5-dark-shoes.jpg": "Dark shoes on their carton",
    "phone-6-carton.jpg": "A carton of milk",
    "2221.jpg": "A dark blue backpack",
    "2250.jpg": "Red flip flops",
    "2315.jpg": "A pink T-shirt",
    "2498.jpg": "A black canvas shoe",
    "2650.jpg": "A brown handbag",
    "2697.jpg": "A turquoise children's dress",
}
EXAMPLES = {name: Example(FOLDER / name, text) for name, text in _TEXTS.items()}
