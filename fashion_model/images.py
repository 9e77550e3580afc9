"""Untrusted file or bytes → upright RGB photograph, or an ImageError that says what is wrong."""

import io
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from pillow_heif import register_heif_opener

Source = str | os.PathLike[str] | bytes | Image.Image
MAX_PIXELS = 64_000_000  # more than any phone takes
# Of formats that phones do not take. Such files can be tiny and fill the memory; a JPEG file is decoded small.
MAX_PIXELS_OF_OTHERS = 25_000_000
OF_PHONES = ("JPEG", "MPO", "HEIF")
MAX_SIDE = 30_000  # pixels; the largest that a JPEG can hold is 65,535
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")  # Pillow's others start programs or are rare
SRGB = ImageCms.createProfile("sRGB")
register_heif_opener()  # what iPhones take
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
    | {".heic", ".heif"}
)
OTHER_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}")  # such as .csv or .cr2: the file is no photograph
# Besides names with a leading dot: metadata of macOS, thumbnails of network storage and Windows, deleted files.
HIDDEN = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
OVERLAY = re.compile(r".+\.[0-9a-f]{12}\.[a-z][a-z0-9_]*\.png")  # as `predict --heatmaps` calls them
ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # its values for photographs that are turned by a quarter

# What Pillow's decoders raise on damaged files (https://github.com/python-pillow/Pillow/issues/3863).
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError, RuntimeError),
)
# Pillow's, about damaged metadata and many pixels: what cannot be used is an ImageError.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """The file is not a photograph that can be used; the message is fit for the person who sent it."""


def open_image(source: Source, at_least: int | None = None) -> Image.Image:
    """The upright RGB photograph in `source` (a path, the bytes of a file, or a PIL image, which stays untouched).

    EXIF orientation is applied, color profiles are converted to sRGB, transparency is laid on white, grays of more than
    8 bit are scaled to 8 bit, and of an animation the first frame is taken. Raises ImageError for everything else.

    A JPEG file is decoded at a half, a quarter or an eighth of its size, which is faster, if no side becomes shorter
    than `at_least` pixels. `info["size"]` of the result is the photograph's own width and height.
    """
    if not isinstance(source, bytes | Image.Image):
        source = _read(source)
    if source == b"":
        raise ImageError("The file is empty.")
    try:
        if isinstance(source, bytes):
            return _to_upright_rgb(Image.open(io.BytesIO(source), formats=FORMATS), at_least)
        return _to_upright_rgb(source)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("The file is not an image in a format that can be read.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(MAX_PIXELS)) from error
    except _DECODER_ERRORS as error:
        raise ImageError("The image is damaged or cut off.") from error


def find_images(
    paths: Iterable[str | os.PathLike[str]],
    leave_out: str | os.PathLike[str] | None = None,
    pass_over: Callable[[Path], object] = lambda path: None,
) -> Iterator[Path]:
    """Every file of `paths` as it is, and every photograph below its folders, sorted by path.

    A folder is listed when its turn comes, and only the names in it and in those above it are held. Links to folders
    are followed; each folder is entered once. What other programs hide and the folder `leave_out` are not read.
    `pass_over` is called for what is left out beside that: files that are no photographs, and overlays of our own. A
    folder that cannot be listed is yielded in its place.
    """
    for path in map(Path, paths):
        if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir fails for a name too long; reading says what is wrong)
            yield path
            continue
        entered = {Path(leave_out).resolve()} if leave_out is not None else set()
        for file in files_below(path, entered):
            if _is_image(file) or os.path.isdir(file):  # noqa: PTH112
                yield file
            else:
                pass_over(file)


def files_below(folder: Path, entered: set[Path]) -> Iterator[Path]:
    """What no other program hides, in order; links to folders are followed, and each folder is entered once.

    A folder that cannot be listed is yielded in its place: reading it as a file fails, and the error says why.
    """
    if (resolved := folder.resolve()) in entered:
        return
    entered.add(resolved)
    try:
        names = sorted(path.name for path in folder.iterdir() if not is_hidden(path.name))  # paths take more memory
    except OSError:
        yield folder
        return
    for path in (folder / name for name in names):
        if os.path.isdir(path):  # noqa: PTH112 (as in _is_image)
            yield from files_below(path, entered)
        else:
            yield path


def _is_image(path: Path) -> bool:
    # os.path has False for a link that leads nowhere, or where nobody may look; pathlib raises errors for some of them.
    is_pipe = os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113
    return not is_pipe and is_photograph(path.name, lambda: path.open("rb"))


def is_photograph(name: str, open_file: Callable[[], IO[bytes]]) -> bool:
    """Whether a file is a photograph: by its suffix, or by its content if the suffix is unknown. Our overlays are none.

    The file is opened only for names such as `b.jpg?v=169`, or without a suffix. A file with the suffix of a photograph
    is one, even if it is damaged.
    """
    path = PurePath(name)
    if path.suffix.lower() in SUFFIXES:
        return not OVERLAY.fullmatch(path.name)
    if OTHER_SUFFIX.fullmatch(path.suffix):
        return False
    try:
        with open_file() as file, Image.open(file, formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except _DECODER_ERRORS:
        return False


def is_hidden(path: str) -> bool:
    """Whether another program keeps the file of this relative path for itself, such as `__MACOSX/._a.jpg`."""
    parts = [part for part in PurePath(path).parts if part != ".."]
    return any(part.startswith(".") or part.lower() in HIDDEN for part in parts)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"The file cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _to_upright_rgb(image: Image.Image, at_least: int | None = None) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("The image has no pixels.")
    limit = MAX_PIXELS if image.format in (None, *OF_PHONES) else MAX_PIXELS_OF_OTHERS
    if width * height > limit:
        raise ImageError(_too_large(limit))
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"The image is more than {MAX_SIDE:,} pixels wide or high.")
    if at_least and isinstance(image, JpegImageFile):
        image.draft(None, (at_least, at_least))
    upright = _to_rgb(image)
    orientation = None
    with suppress(*_DECODER_ERRORS):  # the pixels of a file with damaged EXIF are used as they are
        orientation = image.getexif().get(ORIENTATION)
    upright.info = {}  # Pillow would write the whole EXIF block again and fail on unusual ones
    upright.getexif()[ORIENTATION] = orientation
    ImageOps.exif_transpose(upright, in_place=True)
    if orientation in SIDEWAYS:
        width, height = height, width
    upright.info = {"size": (width, height)}  # no EXIF: a later reader would apply the orientation a second time
    return upright


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_gray(image)
    image = _in_srgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _in_srgb(image: Image.Image) -> Image.Image:
    """The image converted to sRGB if it has the profile of another color space. Damaged profiles are ignored."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        flat = image.convert("RGB") if image.mode == "P" or image.has_transparency_data else image
        converted = ImageCms.buildTransform(source, SRGB, flat.mode, "RGB").apply(flat)
        if image.has_transparency_data:
            converted.putalpha(image.convert("RGBA").getchannel("A"))
        return converted
    except (ImageCms.PyCMSError, *_DECODER_ERRORS):
        return image


def _scaled_gray(image: Image.Image) -> Image.Image:
    """Pillow clips grays above 255 instead of scaling them: https://github.com/python-pillow/Pillow/issues/3011.

    Sixteen bits are scaled by their range. Other numbers have none: up to 1 they are shares of white, up to 255 levels,
    and above that the largest is white.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ImageError("The image holds values that are not numbers.")
    brightest = values.max()
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < brightest <= 65535):
        white = 65535.0
    elif image.mode == "F" and brightest <= 1:
        white = 1.0
    else:
        white = max(255.0, float(brightest))
    levels = np.clip(np.rint(values * np.float32(255 / white)), 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[values == transparent] = 255
    return Image.fromarray(levels).convert("RGB")


def _too_large(limit: int) -> str:
    return f"The image has more than {limit // 1_000_000} million pixels. Please make it smaller."
