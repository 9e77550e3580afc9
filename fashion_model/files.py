"""Files that are either the old one or the new one, whenever the process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place if the block ends without an error, and is deleted if not.

    OSErrors are named as by `naming`.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with naming(path):
            yield unfinished
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError without a file's name, such as that of a full disk, is given that of `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """In UTF-8, in place of what `path` holds."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """In place of what `path` holds."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)
