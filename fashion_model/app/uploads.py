"""Untrusted uploads: photographs and zips of them. A zip is read in memory and never unpacked.

Every fault is an ImageError, whose message is fit for the visitor.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from fashion_model.app.disk import folder
from fashion_model.classifier import WORKERS
from fashion_model.images import ImageError, is_hidden, is_photograph, open_image

MAX_BYTES = 10 * 2**20  # of one photograph
MAX_ZIP = 100  # MB
MAX_LIST_BYTES, MAX_LISTED = 2**20, 20_000  # of a zip's list of files, which is held in memory; files in all lists
MAX_PHOTOGRAPHS = 500
MAX_BOX = 100  # characters of a box
HEADER = 30  # bytes of a file's header in a zip, without its name
BEGINNING = 2**17  # bytes that tell whether a file is a photograph where its name does not
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others are rare; LZMA takes any amount of memory
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError, RuntimeError)

LIMITS = f"At most {MAX_PHOTOGRAPHS} photographs; a zip up to {MAX_ZIP} MB, each file in it {MAX_BYTES // 2**20} MB."
TOO_LARGE = f"The file exceeds {MAX_BYTES // 2**20} MB. Please send a smaller one."
TOO_MANY_LISTED = "The zips list too many files; please send fewer, or split them."

# Settings of events that run the network for one photograph: so many are answered at the same time, others wait.
# While one decodes, draws and writes, the other computes; the network is no faster in batches.
ONE_PHOTOGRAPH: dict[str, Any] = {"concurrency_id": "photograph", "concurrency_limit": WORKERS}
File = dict[str, Any]  # gradio's FileData as JSON
# Its name, and a function that opens it in the detail that `open_image` is given, or raises ImageError.
Upload = tuple[str, Callable[[int], Image.Image]]


def received_file(photo: File | None) -> Path:
    """The path of an uploaded file. Clients can send any path; only those in the folder of uploads are accepted."""
    if not photo:
        raise ImageError("Please choose a photograph first.")
    path = photo.get("path") if isinstance(photo, dict) else None
    if not isinstance(path, str) or "\0" in path or not Path(path).resolve().is_relative_to(folder()):
        raise ImageError("The photograph has to be uploaded.")
    return Path(path)


def received_files(files: list[File] | None) -> list[tuple[str, Path]]:
    """Original name and path of each uploaded file."""
    if not files:
        raise ImageError("Please choose photographs or a zip first.")
    return [(name_of(file), path) for file, path in zip(files, map(received_file, files), strict=True)]


def sides_of(box: Any) -> list[Any] | None:
    """Numbers from text such as `12, 30, 200, 310`; whatever they are is checked later."""
    text = str(box or "")
    if len(text) > MAX_BOX:
        return [text[:MAX_BOX]]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [int(part) if part.isdecimal() else part for part in parts] or None


def name_of(file: File) -> str:
    """The file's name on the visitor's machine."""
    return str(file.get("orig_name") or Path(file["path"]).name)


def received_photograph(photo: File | None) -> Path:
    path = received_file(photo)
    refuse_large(path)
    return path


def open_photograph(path: Path, detail: int) -> Image.Image:
    """The upright RGB photograph of a file."""
    refuse_large(path)
    return open_image(path, detail)


def refuse_large(path: Path) -> None:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise ImageError(TOO_LARGE)


@contextmanager
def photographs(files: list[tuple[str, Path]]) -> Iterator[tuple[list[Upload], int]]:
    """Each of `files` (names and paths) and the photographs in those that are zips; and how many others the zips hold.

    Usable within the context. There may be up to MAX_PHOTOGRAPHS, and none is a fault.
    """
    if len(files) > MAX_PHOTOGRAPHS:
        raise ImageError(f"At most {MAX_PHOTOGRAPHS} files can be sent at a time; these are {len(files):,}.")
    with ExitStack() as opened:
        uploads: list[Upload] = []
        listed = passed_over = 0
        for name, path in files:
            if not name.lower().endswith(".zip"):
                uploads.append((name, partial(open_photograph, path)))
                continue
            try:
                archive = _open_zip(path, opened)
            except zipfile.BadZipFile as error:
                uploads.append((name, partial(_refuse, str(error))))
                continue
            listed += len(archive.infolist())
            if listed > MAX_LISTED:
                raise ImageError(TOO_MANY_LISTED)
            members = [m for m in archive.infolist() if not m.is_dir() and not is_hidden(m.filename)]
            taken = [member for member in members if _is_photograph(archive, member)]
            uploads += [(f"{name}/{member.filename}", partial(_open_member, archive, member)) for member in taken]
            passed_over += len(members) - len(taken)
        if len(uploads) > MAX_PHOTOGRAPHS:
            raise ImageError(
                f"At most {MAX_PHOTOGRAPHS} photographs can be labelled at a time; these are {len(uploads):,}."
            )
        if not uploads:
            raise ImageError("There is no photograph among the files.")
        yield uploads, passed_over


class _InSmallPieces(io.FileIO):
    """zipfile reads the whole list of files at once, which could fill the memory."""

    cut = False  # whether more was asked for

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        self.cut |= size > MAX_LIST_BYTES
        return super().read(size if 0 <= size <= MAX_LIST_BYTES else MAX_LIST_BYTES)


def _open_zip(path: Path, opened: ExitStack) -> zipfile.ZipFile:
    """BadZipFile, with a sentence, for what is no zip; ImageError for too long a list of files."""
    file = None
    try:
        file = opened.enter_context(_InSmallPieces(path))
        archive = opened.enter_context(zipfile.ZipFile(file))
    except ZIP_ERRORS as error:
        if file and file.cut:
            raise ImageError(TOO_MANY_LISTED) from error
        raise zipfile.BadZipFile("The zip file is damaged, or it is none.") from error
    # The same bytes listed several times: a small zip could otherwise cost hours.
    ranges = sorted((m.header_offset, m.header_offset + HEADER + m.compress_size) for m in archive.infolist())
    if any(start < end for (_, end), (start, _) in pairwise(ranges)):
        raise zipfile.BadZipFile("Files in the zip overlap each other.")
    return archive


def _is_photograph(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """By the rule that folders have."""

    def beginning() -> io.BytesIO:
        if member.compress_type not in ZIP_METHODS:
            return io.BytesIO()
        try:
            return io.BytesIO(archive.open(member).read(BEGINNING))
        except ZIP_ERRORS:
            return io.BytesIO()

    return is_photograph(member.filename, beginning)


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, detail: int) -> Image.Image:
    if member.flag_bits & 1:
        raise ImageError("The file in the zip is encrypted.")
    if member.compress_type not in ZIP_METHODS:
        raise ImageError("The file in the zip is compressed in a way that cannot be read.")
    if member.file_size > MAX_BYTES:
        raise ImageError(TOO_LARGE)
    try:
        data = archive.read(member)  # no more than file_size, whatever it unpacks to
    except ZIP_ERRORS as error:
        raise ImageError("The file in the zip is damaged.") from error
    return open_image(data, detail)


def _refuse(message: str, detail: int) -> NoReturn:
    raise ImageError(message)
