"""Whether the classifier in use answers as the bare network does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fashion_model import FashionClassifier
from fashion_model.checkpoint import Checkpoint
from fashion_model.explain.cam import Target, explain
from fashion_model.images import open_image

MAPS = 64  # photographs whose maps are compared


def measure(checkpoint: Checkpoint, classifier: FashionClassifier, files: list[Path]) -> str:
    """Labels, probabilities and maps, beside those of PyTorch without any optimization on the fully decoded files."""
    model, transform = checkpoint.model.requires_grad_(False), checkpoint.config.preprocessing
    same, total, difference, of_maps = 0, 0, 0.0, 0.0
    for number, (file, prediction) in enumerate(classifier.stream(files)):
        image = transform(open_image(file))[None]
        with torch.no_grad():
            expected = model.calibrate(model(image))
        for name, probabilities in expected.items():
            found = prediction[name].probabilities
            same, total = same + int(found.argmax() == int(probabilities[0].argmax())), total + 1
            difference = max(difference, float(np.abs(found - probabilities[0].numpy()).max()))
        if number < MAPS:
            _, maps = classifier.predict_and_map(file, 1)
            own = explain(model, image, [Target(*checkpoint.encoders.target(n, prediction[n].label)) for n in maps])
            of_maps = max(
                of_maps, *(float(np.abs(m[0] - o).max()) for m, o in zip(maps.values(), own.maps, strict=True))
            )
    return (
        f"{len(files):,} photographs: {100 * same / total:.2f} % of labels as those of the eager network; largest "
        f"difference of a probability {difference:.4f}, of a map ({min(MAPS, len(files))} photographs) {of_maps:.4f}"
    )
