"""The pictures in a folder or a zip, by file name, wherever in it they lie."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from data_prep.source import SourceError
from fashion_model.images import ImageError, open_image

# What reading a damaged or locked member raises.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


class Archive:
    """The files of a folder or a zip. SourceError if it is neither, or for a picture that cannot be read."""

    def __init__(self, path: Path):
        self.path = path
        if path.is_dir():
            names: Iterable[str] = (f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
            self._read = lambda name: (path / name).read_bytes()
        else:
            try:
                archive = zipfile.ZipFile(path)
            except (OSError, *DAMAGED) as error:
                raise SourceError(f"{path} is neither a folder nor a zip file") from error
            names, self._read = archive.namelist(), archive.read
        # The shortest path first, so that of two files with one name the outer one is taken; then by name.
        self._names: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (name.count("/"), name)):
            self._names.setdefault(PurePosixPath(name).name, name)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def text(self, name: str) -> str:
        try:
            return self._bytes(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.path}: {name} is not UTF-8 text: {error}") from error

    def _bytes(self, name: str) -> bytes:
        if name not in self:
            raise SourceError(f"{self.path} holds no {name}")
        try:
            return self._read(self._names[name])
        except DAMAGED as error:
            raise SourceError(f"{self.path}: {name}: {error}") from error

    def picture(self, name: str, largest: int) -> Image.Image:
        """The upright RGB picture, shrunk until no side is longer than `largest` pixels."""
        try:
            picture = open_image(self._bytes(name))
        except (ImageError, OSError) as error:
            raise SourceError(f"{self.path}: {name}: {error}") from error
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        return picture


def empty_folder(folder: Path) -> None:
    """Without the pictures of an earlier run, which may have been split otherwise."""
    for path in folder.glob("*.jpg"):
        path.unlink()


def save_picture(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92)
