"""Untrusted file or bytes → upright RGB photograph, or an ImageError that says what is wrong."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000  # more than any phone takes by default; 192 MB once decoded
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})

# What Pillow's decoders raise on damaged files (https://github.com/python-pillow/Pillow/issues/3863).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    ZeroDivisionError,
)


class ImageError(ValueError):
    """The file is not a photograph that can be used; the message is fit for the person who sent it."""


def open_image(source: str | os.PathLike[str] | bytes | Image.Image) -> Image.Image:
    """The upright RGB photograph in `source` (a path, the bytes of a file, or a PIL image, which stays untouched).

    EXIF orientation is applied, transparency is laid on white, 16-bit and floating-point grays are scaled to 8 bit,
    and of an animation the first frame is taken. Raises ImageError for everything else.
    """
    if isinstance(source, Image.Image):
        return _to_upright_rgb(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ImageError(f"The file cannot be read: {error.strerror or error}.") from error
    if not data:
        raise ImageError("The file is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            with Image.open(io.BytesIO(data)) as image:
                return _to_upright_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("The file is not an image in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large()) from error
    except _DECODER_ERRORS as error:
        raise ImageError("The image is damaged or cut off.") from error


def find_images(paths: list[str | os.PathLike[str]]) -> Iterator[Path]:
    """Every file of `paths` as it is, and every image below its folders, sorted by path."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        else:
            yield path


def _to_upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("The image has no pixels.")
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large())
    if getattr(image, "n_frames", 1) > 1 and image.tell() != 0:
        image.seek(0)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _scaled_gray(upright)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright).convert("RGB")
    return upright.convert("RGB")


def _scaled_gray(image: Image.Image) -> Image.Image:
    """Pillow clips grays above 255 instead of scaling them: https://github.com/python-pillow/Pillow/issues/3011."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ImageError("The image holds values that are not numbers.")
    if image.mode.startswith("I;16") or (image.mode == "I" and values.max() > 255):
        scaled = values / 257
    elif image.mode == "I":
        scaled = values
    else:
        scaled = values * 255 if values.max() <= 1 else values
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)).convert("RGB")


def _too_large() -> str:
    return f"The image has more than {MAX_PIXELS // 1_000_000} million pixels."
