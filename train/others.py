"""Pictures that show no fashion product, as data_prep.other_pictures collects them: KIND-NAME.jpg in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fashion_model.images import ImageError, open_image
from train.dataset import DataError


class OtherPictures:
    """The pictures of `folder`, sorted by name. DataError if there are none, or for one that cannot be read."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*-*.jpg"))
        if not self.paths:
            raise DataError(f"{folder} has no pictures KIND-NAME.jpg; data_prep.other_pictures writes them")
        self.kinds = np.array([path.name.split("-")[0] for path in self.paths])  # (N,)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return open_image(self.paths[index])
        except ImageError as error:
            raise DataError(f"{self.paths[index]}: {error}") from error

    def shares(self, hit: np.ndarray) -> dict[str, dict[str, float]]:
        """Kind → how many pictures it has and the share of them for which `hit` (N,) is True.

        `mean` has all pictures and the mean of the kinds' shares, so that no kind weighs more for being drawn more.
        """
        shares = {
            str(kind): {"pictures": int((self.kinds == kind).sum()), "share": float(hit[self.kinds == kind].mean())}
            for kind in np.unique(self.kinds)
        }
        mean = float(np.mean([kind["share"] for kind in shares.values()]))
        return shares | {"mean": {"pictures": len(hit), "share": mean}}
