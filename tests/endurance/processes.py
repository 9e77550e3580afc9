"""Commands that are killed at random moments."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conftest import ROOT, contents


def run(arguments: Sequence[str | Path]) -> float:
    """Seconds that the command takes to its end; it has to succeed."""
    start = time.monotonic()
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True, stdout=-3, stderr=-3)
    return time.monotonic() - start


def kill(arguments: Sequence[str | Path], seconds: float) -> bool:
    """End the command with SIGKILL after so many seconds. Whether it was still running."""
    with subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, stdout=-3, stderr=-3) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert process.returncode == 0, f"{arguments} ended with {process.returncode}"
    return False


def kill_often(
    arguments: Sequence[str | Path], times: int, check: Callable[[], object], seconds: float, output: Path
) -> int:
    """Kill the command `times` times within the `seconds` that it takes, with `check` after each; how often it was.

    When it has come to its end, `output` is deleted and it begins again.
    """
    moments, killed = random.Random(0), 0
    while killed < times:
        if kill(arguments, moments.uniform(0.3, 1.0) * seconds):
            killed += 1
        elif output.is_dir():
            shutil.rmtree(output)
        else:
            output.unlink()
        check()
    return killed


def finished(folder: Path) -> dict[str, bytes]:
    """The contents without what a killed process left unfinished."""
    return {name: content for name, content in contents(folder).items() if ".unfinished" not in name}
