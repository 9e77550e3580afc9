"""For a catalogue like the public one: EfficientNet-Lite0 with linear heads, 96×96 pixels, on its thumbnails alone.

    python -m train recipe quick --data data/ --output runs/quick

Needs `python -m data_prep catalogue` only. It is right about such thumbnails and wrong about people's photographs;
the default recipe is for these. 22 minutes on two cores. On the thumbnails of the test split, 67.2 % of colors were
right, 84.3 % of product types, 72.7 % of seasons and 91.1 % of genders, with plain one-cycle training and crops
without rotation; not measured again since. Published on the same data: 63.0 % of colors (a ResNet-50, g-gertz MSP),
88.4 % of the 20 most frequent product types (a ResNet-50, uditarora), 71.2 % of seasons (SigLIP2, prithivMLmods, its
training data included), 88.7 % of genders (a ResNet-18, KanishkNoir/CodeMonk).
"""

from __future__ import annotations

from train.data.domains import THUMBNAILS
from train.data.training_set import Augmentation

SETTINGS = {
    "backbone": "tf_efficientnet_lite0",
    "shares": {THUMBNAILS: 1.0},
    "accessory_share": None,
    "repeat_threshold": 0.0,
    "augmentation": Augmentation(paste=0, illuminate=0, degrade=0),
    "image_size": (96, 96),
    "epochs": 3,
    "cooldown_epochs": 3,
    "batch_size": 64,
    "learning_rate": 1.5e-3,
    "frozen_stages": 3,
}
IMAGE_SIZE = None
