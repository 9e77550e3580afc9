"""The folder of uploads and results: nothing stays longer than promised, and what it holds has a limit."""

import getpass
import hashlib
import io
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from PIL import Image

MAX_AGE = 3600  # seconds that an upload or a result stays
MAX_HELD = 4 * 2**30  # bytes of all files together; the oldest are deleted first
INTERVAL = 60  # seconds between two runs of `clean`
FOLDER_VARIABLE = "GRADIO_TEMP_DIR"  # the environment variable with the folder, which gradio reads as well
OVERLAY_FILE = "overlay.jpeg"


def own_folder() -> Path:
    """A folder for this user in that which FOLDER_VARIABLE names, or else in the system's; made if it does not exist.

    Only what is in it is ever deleted. OSError if it cannot be written.
    """
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # a container's user may have no name
    path, own = Path(os.environ.get(FOLDER_VARIABLE) or tempfile.gettempdir()), f"fashion-model-{user}"
    path = path if path.name == own else path / own  # it may be what an earlier call has named
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and path.stat().st_uid != user:
        raise PermissionError(f"{path} belongs to another user")
    with tempfile.TemporaryFile(dir=path):
        os.environ[FOLDER_VARIABLE] = str(path.resolve())
    return path


def folder() -> Path:
    """The folder of this process, after `own_folder`."""
    return Path(os.environ[FOLDER_VARIABLE]).resolve()


def keep_clean(path: Path) -> NoReturn:
    """Clean now, as a process that was killed may have left files, and from then on."""
    while True:
        clean(path)
        time.sleep(INTERVAL)


def result_file(name: str, data: bytes) -> Path:
    """A complete file with this content, in a folder that is called as the content's digest.

    Gradio's own functions write over a file of the same content, which another visitor may be fetching. Unlike
    `fashion_model.system`, several threads and apps may write the same file here.
    """
    path = folder() / hashlib.sha256(data).hexdigest() / name
    try:
        os.utime(path)  # it stays as long as a new one
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            unfinished = Path(temporary, name)
            unfinished.write_bytes(data)
            unfinished.replace(path)
    return path


def jpeg_file(image: Image.Image, name: str = OVERLAY_FILE) -> Path:
    """`result_file` of an RGB image."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return result_file(name, buffer.getvalue())


def clean(path: Path, max_age: float = MAX_AGE, max_bytes: int = MAX_HELD) -> None:
    """Delete what is older than `max_age` seconds, then the oldest until `max_bytes` are left; and empty folders."""
    now, files = time.time(), []
    for parent, _, names in os.walk(path):
        for file in (Path(parent, name) for name in names):
            with suppress(OSError):  # another thread has moved it
                status = file.lstat()
                files.append((status.st_mtime, status.st_size, file))
    held = sum(size for _, size, _ in files)
    for changed, size, file in sorted(files):
        if now - changed > max_age or held > max_bytes:
            with suppress(OSError):  # in use, or gone meanwhile
                file.unlink()
                held -= size
    for parent, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):  # not empty, or gone meanwhile
            if Path(parent) != path and now - Path(parent).stat().st_mtime > max_age:
                Path(parent).rmdir()
