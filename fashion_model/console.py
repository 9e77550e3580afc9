"""The standard streams of a command."""

from __future__ import annotations

import errno
import io
import sys


def show_all_characters() -> None:
    """Where a console lacks a character, as those of Windows do, its code is shown in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def sentence_of(error: Exception, remedy: str = "run the command again") -> str:
    """What the error says, and of a full disk the way to go on."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{error}; make room and {remedy}" if full else str(error)
