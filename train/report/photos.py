"""Photographs of the report: small JPEGs with captions."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from data_prep.duplicates import THUMBNAIL

QUALITY = 70  # of the JPEG, about 1.4 kB


@dataclass(frozen=True)
class Photo:
    jpeg: bytes
    lines: tuple[str, ...]  # of the caption

    @classmethod
    def of(cls, photograph: Image.Image, *lines: str) -> Photo:
        """An RGB photograph, reduced to the size of the catalogue's thumbnails."""
        small = photograph.copy()
        small.thumbnail(THUMBNAIL)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return cls(buffer.getvalue(), lines)
