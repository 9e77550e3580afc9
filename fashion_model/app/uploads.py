"""Untrusted uploads: photographs and zips of them. A zip is read in memory and never unpacked."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from PIL import Image

from fashion_model.app.gradio_private import refused
from fashion_model.classifier import open_for_network
from fashion_model.images import OVERLAY, ImageError, is_hidden, is_photograph

MAX_BYTES = 10 * 2**20  # of one photograph
MAX_ZIP = 100  # MB
MAX_LIST_BYTES, MAX_LISTED = 2**20, 20_000  # of a zip's list of files, which is held in memory; files in all lists
MAX_PHOTOGRAPHS = 500
HEADER = 30  # bytes of a file's header in a zip, without its name
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others are rare, and LZMA takes what memory the file asks for

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError)

TOO_LARGE = f"The file exceeds {MAX_BYTES // 2**20} MB. Please save it as JPEG, or make it smaller."
TOO_MANY_LISTED = "The zips list too many files; please send fewer, or split them."


Upload = tuple[str, Callable[[], Image.Image]]  # its name, and a function that opens it or raises ImageError


def open_photograph(path: Path) -> Image.Image:
    """The upright RGB photograph, in the detail that the network can use. ImageError if it is none, or too large."""
    refuse_large(path)
    return open_for_network(path)


def refuse_large(path: Path) -> None:
    """ImageError if the file is larger than a photograph may be."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        _refuse(TOO_LARGE)


@contextmanager
def photographs(files: Sequence[tuple[str, Path]], limit: int = MAX_PHOTOGRAPHS) -> Iterator[list[Upload]]:
    """Each of `files` (names and where they are) and the images in those that are zips; usable within the context.

    Other files in a zip are passed over, as in a folder. gr.Error for none and for more than `limit`.
    """
    if len(files) > limit:
        raise refused(f"At most {limit} files can be sent at a time; these are {len(files):,}.")
    with ExitStack() as opened:
        uploads: list[Upload] = []
        listed = 0
        for name, path in files:
            if name.lower().endswith(".zip"):
                images, files_in_zip = _images_in(name, path, opened)
                uploads += images
                listed += files_in_zip
            else:
                uploads.append((name, partial(open_photograph, path)))
            if len(uploads) > limit:
                raise refused(
                    f"At most {limit} photographs can be labelled at a time; there are at least {len(uploads):,}."
                )
            if listed > MAX_LISTED:
                raise refused(TOO_MANY_LISTED)
        if not uploads:
            raise refused("There is no photograph among the files.")
        yield uploads


class _InSmallPieces(io.FileIO):
    """zipfile reads the whole list of files at once, which could fill the memory."""

    cut = False  # whether more was asked for

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        self.cut |= size > MAX_LIST_BYTES
        return super().read(size if 0 <= size <= MAX_LIST_BYTES else MAX_LIST_BYTES)


def _images_in(name: str, path: Path, opened: ExitStack) -> tuple[list[Upload], int]:
    """The images in a zip, and how many files it lists."""
    file = None
    try:
        file = opened.enter_context(_InSmallPieces(path))
        archive = opened.enter_context(zipfile.ZipFile(file))
    except _ZIP_ERRORS as error:
        if file and file.cut:
            raise refused(TOO_MANY_LISTED) from error
        return [(name, partial(_refuse, "The zip file is damaged, or it is none."))], 0
    members = archive.infolist()
    if _overlap(members):
        return [(name, partial(_refuse, "Files in the zip overlap each other."))], 0
    return [
        (f"{name}/{member.filename}", partial(_open_member, archive, member))
        for member in members
        if not member.is_dir() and has_image_suffix(member.filename) and not member.filename.startswith("__MACOSX/")
    ], len(members)


def _overlap(members: list[zipfile.ZipInfo]) -> bool:
    """Whether the same bytes are listed several times: a small zip could otherwise cost hours."""
    ranges = sorted((m.header_offset, m.header_offset + HEADER + m.compress_size) for m in members)
    return any(start < end for (_, end), (start, _) in pairwise(ranges))


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Image.Image:
    if member.flag_bits & 1:
        _refuse("The file in the zip is encrypted.")
    if member.compress_type not in METHODS:
        _refuse("The file in the zip is compressed in a way that cannot be read.")
    if member.file_size > MAX_BYTES:
        _refuse(TOO_LARGE)
    try:
        data = archive.read(member)  # no more than file_size, whatever it unpacks to
    except _ZIP_ERRORS as error:
        raise ImageError("The file in the zip is damaged.") from error
    return open_for_network(data)


def _refuse(message: str) -> NoReturn:
    raise ImageError(message)
