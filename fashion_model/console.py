"""How a command meets its user: its streams, its errors, and Ctrl-C."""

from __future__ import annotations

import errno
import importlib
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn


def show_all_characters() -> None:
    """Where a console lacks a character, as those of Windows do, its code is shown in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the process at once, without a traceback: for imports, which take seconds."""
    if threading.current_thread() is not threading.main_thread():  # only this one is interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_with(main: Callable[[], int | None]) -> NoReturn:
    """End the process with the status that `main` returns; quietly after Ctrl-C."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


def sentence_of(error: Exception, remedy: str = "run the command again") -> str:
    """What the error says, and of a full disk the way to go on."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{error}; make room and {remedy}" if full else str(error)


def run_command(package: str, commands: Mapping[str, str], arguments: list[str]) -> int:
    """Run `python -m PACKAGE NAME …`: the `Config` of a module, a dataclass, is its command line, `run` what it does.

    `commands`: name → module. The exit status is what `run` returns, 0 for None, or 2 with one sentence on standard
    error.
    """
    show_all_characters()
    if not arguments or arguments[0] not in commands:
        print(f"usage: python -m {package} {{{','.join(commands)}}} …", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    name, *options = arguments
    with ended_by_ctrl_c():
        import tyro

        from fashion_model.hub import HubError

        module = importlib.import_module(commands[name])
    try:
        config = tyro.cli(module.Config, prog=f"python -m {package} {name}", description=module.__doc__, args=options)
        return module.run(config) or 0
    except (ValueError, OSError, HubError) as error:  # CheckpointError, DataError, SourceError are ValueErrors
        print(f"{name}: {sentence_of(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
