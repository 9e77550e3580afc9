"""Read photographs and tables from a folder or a zip; write prepared photographs without touching other files."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import pandas as pd
from PIL import Image

from data_prep.splits import SPLITS
from data_prep.tables import SourceError
from fashion_model.images import SUFFIXES, ImageError, files_below, is_hidden, is_photograph, open_image
from fashion_model.system import replacing, write_text

PREPARED_SIDE = 400  # pixels of the longer side of a prepared photograph, at most
WRITTEN = "written.txt"  # in each folder of prepared photographs: the files that the last run wrote, one a line
# zipfile raises these for damaged or encrypted members.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
IMAGE_SUFFIX = re.compile(rf"(?i)({'|'.join(map(re.escape, sorted(SUFFIXES)))})(?![a-z0-9]).*$")


@dataclass(frozen=True)
class SourceConfig:
    source: Path  # The folder or zip of the published data set.
    output: Path  # The data folder.


class Archive:
    """The files of a folder, of a zip, or of a zip in a zip.

    Paths are relative, with slashes. Files that other programs hide are left out. SourceError if `path` is neither a
    folder nor a zip, or is a folder that contains the data folder `output`, whose photographs would become sources.
    """

    def __init__(self, path: Path, output: Path | None = None):
        self.path = path
        if path.is_dir():
            if output and output.resolve().is_relative_to(path.resolve()):
                raise SourceError(f"the data folder {output} lies in the source {path}; choose another --output")
            files = list(files_below(path, set()))
            for folder in filter(Path.is_dir, files):
                next(folder.iterdir(), None)  # the error says why it could not be listed
            paths: Iterable[str] = (file.relative_to(path).as_posix() for file in files)
            self._open = lambda name: (path / name).open("rb")
        else:
            try:
                archive = _innermost(_open_zip(path))
            except (OSError, *DAMAGED) as error:
                raise SourceError(f"{path} is neither a folder nor a zip file") from error
            paths, self._open = (name for name in archive.namelist() if not name.endswith("/")), archive.open
        self._paths = sorted((p for p in paths if not is_hidden(p)), key=lambda p: (p.count("/"), p))
        self._unread = set(self._paths)

    def find(self, name: str) -> str:
        """The path with this end, of several that with the fewest folders. SourceError if there is none."""
        for path in self._paths:
            if path == name or path.endswith(f"/{name}"):
                return path
        raise SourceError(f"{self.path} holds no {name}")

    def photographs(self, folder: str = "") -> dict[str, str]:
        """The name that each photograph below `folder` is prepared as, with its path, sorted by name.

        Of several photographs with one name, that with the fewest folders is used.
        """
        paths: dict[str, str] = {}
        for path in self._paths:
            name = prepared_name(path)
            if path.startswith(folder) and name not in paths and self._is_photograph(path):
                paths[name] = path
        return dict(sorted(paths.items()))

    def read(self, path: str) -> bytes:
        """The content of the file. SourceError if it is damaged."""
        self._unread.discard(path)
        try:
            with self._open(path) as file:
                return file.read()
        except DAMAGED as error:
            raise SourceError(f"{self.path}: {path}: {error}") from error

    def labelled(self, labels: Path, column: str, suffix: str = "") -> tuple[dict[str, str], pd.DataFrame]:
        """The photographs, and the rows of a table of labels that name one of them in `column`, without `suffix`.

        SourceError if there is none.
        """
        paths = self.photographs()
        table = pd.read_csv(labels, dtype=str, keep_default_na=False)
        table = table[[f"{name}{suffix}" in paths for name in table[column]]].reset_index(drop=True)
        if table.empty:
            raise SourceError(f"{self.path} holds none of the photographs that {labels.name} has labels of")
        return paths, table

    def image(self, path: str, max_side: int = PREPARED_SIDE) -> Image.Image:
        """The upright RGB image, neither side of which exceeds `max_side` pixels. SourceError if it is unusable."""
        try:
            image = open_image(self.read(path), max_side)  # a large JPEG file is not decoded in full
        except ImageError as error:
            raise SourceError(f"{self.path}: {path}: {error}") from error
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        return image

    def files(self, paths: Iterable[str] | None = None) -> Iterator[Path]:
        """The files on disk that hold the content of `paths`, by default of all."""
        yield from (self.path / path for path in paths or self._paths) if self.path.is_dir() else [self.path]

    def print_passed_over(self) -> None:
        """Print how many files have not been read, with three examples."""
        if paths := sorted(self._unread):
            examples = ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
            print(f"{len(paths):>8,}  files of {self.path} passed over: {examples}")

    def _is_photograph(self, path: str) -> bool:
        try:
            return is_photograph(path, lambda: self._open(path))
        except DAMAGED:
            return False


def _open_zip(file: Path | IO[bytes]) -> zipfile.ZipFile:
    """As `zipfile.ZipFile`; separators of Windows in its names are turned into slashes."""
    archive = zipfile.ZipFile(file)
    for member in archive.infolist():
        member.filename = member.filename.replace("\\", "/")
    archive.NameToInfo = {member.filename: member for member in archive.infolist()}
    return archive


def _innermost(archive: zipfile.ZipFile) -> zipfile.ZipFile:
    """The zip in `archive`, if there is nothing else in it."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not is_hidden(name)]
    if len(names) == 1 and names[0].lower().endswith(".zip"):
        return _open_zip(io.BytesIO(archive.read(names[0])))
    return archive


def prepared_name(path: str) -> str:
    """`images/B.JPG?v=169` → `B.jpg`. Characters that some systems do not allow in names become underscores."""
    stem = IMAGE_SUFFIX.sub("", PurePosixPath(path).name)
    return re.sub(r'[\\:*?"<>|\x00-\x1f]', "_", stem) + ".jpg"


def print_splits(table: pd.DataFrame, group: str, kind: str) -> None:
    """Print the number of rows in each split, and of different values in the column `group`, which `kind` names."""
    for split in SPLITS:
        rows = table[table["split"] == split]
        print(f"{len(rows):>8,}  {split}, {kind.format(rows[group].nunique())}")


@contextmanager
def replacing_files(folder: Path, names: Collection[str], sources: Iterable[Path]) -> Iterator[None]:
    """The block writes the files `names` to `folder`, in place of those that an earlier run wrote there.

    Their folders are created. Which files a run wrote is recorded in `folder`/written.txt. Those of the earlier run
    that are not among `names` are deleted at the end; no other file ever is. SourceError, before anything is written,
    if a file of the earlier run or of this one is among `sources`, or if a file of this run exists and no run has
    recorded it.
    """
    record = folder / WRITTEN
    earlier = set(record.read_text(encoding="utf-8").split("\n")) - {""} if record.is_file() else set()
    earlier = {name for name in earlier if not PurePosixPath(name).is_absolute() and ".." not in name.split("/")}
    written = {(folder / name).resolve() for name in earlier.union(names)}
    for source in sources:
        if source.resolve() in written:
            raise SourceError(f"{source} is a file of the source and would be overwritten; choose another --output")
    for name in names:
        if name not in earlier and os.path.lexists(folder / name):
            raise SourceError(f"{folder / name} exists, and no earlier run has written it; choose another --output")
    for parent in {folder, *((folder / name).parent for name in names)}:
        parent.mkdir(parents=True, exist_ok=True)
    every = sorted(earlier.union(names))
    write_text(record, "".join(f"{name}\n" for name in every))
    try:
        yield
        for name in earlier.difference(names):
            (folder / name).unlink(missing_ok=True)
    finally:
        write_text(record, "".join(f"{name}\n" for name in every if (folder / name).exists()))


def save_image(image: Image.Image, path: Path, quality: int = 92) -> None:
    """Write a JPEG file."""
    with replacing(path) as unfinished:
        image.save(unfinished, "JPEG", quality=quality)
