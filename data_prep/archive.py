"""Read images and texts from a folder or a zip by file name, whatever subfolder they are in."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from data_prep.source import SourceError, decoded, open_zip
from fashion_model.files import replacing
from fashion_model.images import ImageError, open_image

MAX_SIDE = 400  # pixels of a prepared photograph
# zipfile raises these for damaged or encrypted members.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


class Archive:
    """The files of a folder or a zip, by file name. Iterating gives the names, sorted.

    Of files with the same name, the one with the fewest parent folders is used. SourceError if `path` is neither a
    folder nor a zip.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.is_dir():
            names: Iterable[str] = (f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
            self._read = lambda name: (path / name).read_bytes()
        else:
            try:
                archive = open_zip(path)
            except (OSError, *DAMAGED) as error:
                raise SourceError(f"{path} is neither a folder nor a zip file") from error
            names, self._read = archive.namelist(), archive.read
        self._names: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (name.count("/"), name)):
            self._names.setdefault(PurePosixPath(name).name, name)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def text(self, name: str) -> str:
        """The text of the file. SourceError if it is missing, damaged or cannot be decoded."""
        return decoded(self.bytes(name), f"{self.path}: {name}")

    def image(self, name: str, max_side: int) -> Image.Image:
        """The upright RGB image, downscaled so that neither side exceeds `max_side` pixels.

        SourceError if the file is missing, damaged or not an image.
        """
        try:
            image = open_image(self.bytes(name), max_side)  # a large JPEG file is not decoded in full
        except (ImageError, OSError) as error:
            raise SourceError(f"{self.path}: {name}: {error}") from error
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        return image

    def bytes(self, name: str) -> bytes:
        """The content of the file. SourceError if it is missing or damaged."""
        if name not in self:
            raise SourceError(f"{self.path} holds no {name}")
        try:
            return self._read(self._names[name])
        except DAMAGED as error:
            raise SourceError(f"{self.path}: {name}: {error}") from error


def delete_images(folder: Path) -> None:
    """Delete the JPEG files of an earlier run, which may have assigned other splits. The folder need not exist."""
    for path in folder.glob("*.jpg"):
        path.unlink()


def save_image(image: Image.Image, path: Path, quality: int = 92) -> None:
    """Write a JPEG file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        image.save(unfinished, "JPEG", quality=quality)
