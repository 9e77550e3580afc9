"""The folder of uploads and results: nothing stays longer than promised, and what it holds has a limit."""

from __future__ import annotations

import getpass
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gradio.processing_utils import hash_bytes
from gradio.utils import get_upload_folder
from PIL import Image

MAX_AGE = 3600  # seconds that an upload or a result stays
MAX_BYTES = 4 * 2**30  # of all of them; the oldest go first
INTERVAL = 60  # seconds between two looks
FOLDER = "GRADIO_TEMP_DIR"  # the environment variable in which gradio looks for it


def own_folder() -> Path:
    """The folder that FOLDER names, or else one in the system's for this user; made if it does not exist.

    OSError if nobody may write there.
    """
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # a container's user may have no name
    path = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / f"fashion-model-{user}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if FOLDER not in os.environ and hasattr(os, "getuid") and path.stat().st_uid != user:
        raise PermissionError(f"{path} belongs to another user")
    with tempfile.TemporaryFile(dir=path):
        os.environ[FOLDER] = str(path.resolve())
    return path


def keep_clean(folder: Path) -> None:
    """Clean now, as a stopped process may have left files, and from then on in the background."""
    clean(folder)

    def go_on() -> None:
        while True:
            time.sleep(INTERVAL)
            clean(folder)

    threading.Thread(target=go_on, daemon=True, name="clean uploads").start()


def result_file(name: str, data: bytes) -> str:
    """The path of a complete file with this content, for visitors to fetch.

    Gradio's own functions write over a file of the same content, which another visitor may be fetching. Unlike
    `fashion_model.files`, several threads and apps may write the same file here.
    """
    path = Path(get_upload_folder(), hash_bytes(data), name)
    try:
        os.utime(path)  # it stays as long as a new one
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = Path(folder, name)
            unfinished.write_bytes(data)
            unfinished.replace(path)
    return str(path)


def jpeg_file(image: Image.Image) -> str:
    """The path of a complete file with this RGB image, for visitors to fetch."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return result_file("image.jpeg", buffer.getvalue())


def clean(folder: Path, max_age: float = MAX_AGE, max_bytes: int = MAX_BYTES) -> None:
    """Delete what is older than `max_age` seconds, then the oldest until `max_bytes` are left; and empty folders."""
    now, files = time.time(), []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                status = path.lstat()
            except OSError:
                continue  # another thread has moved it
            files.append((status.st_mtime, status.st_size, path))
    held = sum(size for _, size, _ in files)
    for changed, size, path in sorted(files):
        if now - changed > max_age or held > max_bytes:
            held -= size if _deleted(path.unlink) else 0
    for parent, _, _ in os.walk(folder, topdown=False):
        if Path(parent) != folder and now - _changed(Path(parent)) > max_age:
            _deleted(Path(parent).rmdir)


def _deleted(delete: Callable[[], None]) -> bool:
    """False for a folder with something in it, a file in use, and what has gone meanwhile."""
    try:
        delete()
    except OSError:
        return False
    return True


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return time.time()
