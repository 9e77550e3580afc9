"""What commands share: streams, errors, signals, and files that are the old one or the new one whenever they end."""

import errno
import importlib
import inspect
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_type_hints

MAX_MESSAGE = 500  # characters


def show_all_characters() -> None:
    """Have consoles that lack a character, as on Windows, show its code instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `handler` for Ctrl-C and SIGTERM. Process 1 of a container has to handle them: it ignores the others."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def end_at_once(number: int, frame: FrameType | None = None) -> NoReturn:
    """End the process without a traceback and without waiting for its threads: for imports, which take seconds."""
    os._exit(128 + number)


def sentence_of(error: Exception) -> str:
    """What the error says, in one line without the rest of a file that it quotes; for a full disk, what to do."""
    text = " ".join(str(error).splitlines())
    text = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{text}; make room and run the command again" if full else text


def run_command(package: str, commands: Mapping[str, str], arguments: list[str] | None = None) -> int:
    """Run `python -m PACKAGE NAME …`: the function of a command, whose argument `config`, a dataclass, is its options.

    `commands`: name → "module:function", or "module" for its function `run`; `arguments`: by default the process's. The
    exit status is what the function returns, 0 for None, or 2 with one sentence on standard error.
    """
    show_all_characters()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] not in commands:
        print(f"usage: python -m {package} {{{','.join(commands)}}} …", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    name, *options = arguments
    with on_signals(end_at_once):
        import tyro

        from fashion_model.hub import HubError

        path, _, function = commands[name].partition(":")
        module = importlib.import_module(path)
        run = getattr(module, function or "run")
    try:
        with on_signals(signal.default_int_handler):
            kind, description = get_type_hints(run)["config"], inspect.getdoc(run if function else module)
            config = tyro.cli(kind, prog=f"python -m {package} {name}", description=description, args=options)
            return run(config) or 0
    except (ValueError, OSError, HubError) as error:  # CheckpointError, DataError, SourceError are ValueErrors
        print(f"{name}: {sentence_of(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that replaces it if the block ends without an error and is deleted otherwise.

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
    """Replace the content of `path` with the text in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the content of `path`."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def read_json(path: Path) -> dict[str, Any]:
    """ValueError if the file does not hold a JSON object."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError("does not hold a JSON object")
    return document


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
