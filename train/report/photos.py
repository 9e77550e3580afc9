"""Photographs of a report: small, with a few words below, alone in the page or together on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from data_prep.duplicates import THUMBNAIL

QUALITY = 70  # of the JPEG; about 1.4 kB
ENLARGED = 3 / 2  # on a sheet
FONT = "DejaVu Sans"  # comes with matplotlib, and has arrows
LINE, FONT_SIZE, WIDTH = 14, 11, 150  # pixels: of a line of text, its letters, a photograph's place on a sheet


@dataclass(frozen=True)
class Photo:
    jpeg: bytes
    lines: tuple[str, ...]  # below it

    @classmethod
    def of(cls, photograph: Image.Image, *lines: str) -> Photo:
        """RGB of any size; shrunk to the catalogue's thumbnails if it is larger."""
        small = photograph.copy()
        small.thumbnail(THUMBNAIL)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return cls(buffer.getvalue(), lines)


def sheet_png(rows: Sequence[Sequence[Photo]]) -> bytes:
    """A PNG with a line of photographs for each of `rows`."""
    lines = max(len(photo.lines) for row in rows for photo in row)
    width, height = (round(side * ENLARGED) for side in THUMBNAIL)
    place = height + LINE * lines + 12
    canvas = Image.new("RGB", (WIDTH * max(map(len, rows)), place * len(rows)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.truetype(findfont(FONT), FONT_SIZE)
    for i, row in enumerate(rows):
        for j, photo in enumerate(row):
            with Image.open(io.BytesIO(photo.jpeg)) as small:
                canvas.paste(small.resize((width, height), Image.Resampling.LANCZOS), (WIDTH * j + 4, place * i + 4))
            for k, line in enumerate(photo.lines):
                text = _shortened(line, font)
                draw.text((WIDTH * j + 4, place * i + height + 6 + LINE * k), text, "black", font)
    return palette_png(canvas)


def palette_png(picture: Image.Image, method: Image.Quantize = Image.Quantize.MEDIANCUT) -> bytes:
    """A PNG of 256 colors, a third of the size that all would take."""
    buffer = io.BytesIO()
    picture.quantize(256, method).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shortened(text: str, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= WIDTH - 8:
        return text
    while text and font.getlength(f"{text}…") > WIDTH - 8:
        text = text[:-1]
    return f"{text}…"
