"""For a catalogue like the public one: EfficientNet-Lite0 with linear heads, 96×96 pixels, on its thumbnails alone.

    python -m train recipe quick --data data/ --output runs/quick

Needs `data_prep.clean_data` only. It is right about such thumbnails and wrong about people's photographs; the default
recipe is for these. QUICK_FIGURES
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.recipes.step import Step, shared_options

if TYPE_CHECKING:
    from train.recipes.command import Config

BACKBONE = "tf_efficientnet_lite0"
# The best published on the same data, in %: color, of a ResNet-50 (g-gertz MSP); product type, of a ResNet-50 among the
# 20 most frequent types (uditarora); season, of SigLIP2 (prithivMLmods), its training data included; gender, of a
# ResNet-18 (KanishkNoir/CodeMonk).
PUBLISHED = {"color": 63.0, "product_type": 88.4, "season": 71.2, "gender": 88.7}


def steps(config: Config) -> list[Step]:
    """The commands in their order."""
    checkpoint, shared = config.output / "checkpoint", shared_options(config)
    fit = ["fit", *shared, "--output", str(checkpoint), "--backbone", config.backbone or BACKBONE, "--resume"]
    settings = (
        f"--thumbnails-only --weights {config.weights} --image-size 96 96 --epochs 3 --batch-size 64 "
        "--learning-rate 1.5e-3 --frozen-stages 3 --repeat-threshold 0"
    )
    if config.smoke:
        fit.append("--smoke")
    measure = ("--checkpoint", str(checkpoint), *shared)
    return [
        Step((*fit, *settings.split()), 20, checkpoint / "training" / "fit.json"),
        Step(("calibrate", *measure), 1),
        Step(("evaluate", *measure), 2),
    ]
