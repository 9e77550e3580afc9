"""The embedded default: EfficientNet-Lite2 with four linear heads, 224×224 pixels.

    python -m train recipe default --data data/ --output runs/default

One network is trained from ImageNet weights on every domain: 46 epochs of 32,768 views, the first 30 at 160×160 and
the others at 192×192 pixels; it is used at 224×224. About fifteen hours on two idle cores without a GPU. The history
of the training is in the training.json of the checkpoint. The checkpoint that is embedded today was trained by an
earlier recipe on fewer domains (train/EXPERIMENTS.md).
"""

from __future__ import annotations

SETTINGS = {
    "backbone": "tf_efficientnet_lite2",
    "linear_probe_steps": 200,
    "frozen_stages": 3,
    "epochs": 46,
    "small_image_size": (160, 160),
    "small_epochs": 30,
    "image_size": (192, 192),
    "cooldown_epochs": 8,
    "imagenet_distillation_weight": 0.3,
}
IMAGE_SIZE = (224, 224)  # after training
