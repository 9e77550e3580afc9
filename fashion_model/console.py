"""The standard streams of a command."""

from __future__ import annotations

import io
import sys


def show_all_characters() -> None:
    """Where a console lacks a character, as those of Windows do, its code is shown in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
