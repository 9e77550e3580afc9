"""Kill, load and fuzz what the tests only touch, and run them with other start methods.

python -m tests.endurance kills load fuzz start-methods
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT  # first: no request leaves this machine
from tests.endurance import kills, load

FUZZ_CASES = 50_000


def fuzz(folder: Path) -> str:
    _pytest("tests/fashion_model/test_fuzz.py", FUZZ_CASES=str(FUZZ_CASES))
    return f"{FUZZ_CASES:,} damaged files: nothing but photographs and ImageErrors"


def start_methods(folder: Path) -> str:
    for method in ("spawn", "forkserver"):
        _pytest("tests", START_METHOD=method)
    return "The tests pass with spawn and forkserver."


def _pytest(path: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-m", "pytest", "-q", path], cwd=ROOT, env=os.environ | environment, check=True)


PARTS: dict[str, Callable[[Path], str]] = {
    "kills": kills.measure,
    "load": load.measure,
    "fuzz": fuzz,
    "start-methods": start_methods,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"{', '.join(PARTS)}; or all")
    for part in parser.parse_args().parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            found = PARTS[part](Path(folder))
            print(f"## {part} ({time.monotonic() - start:,.0f} s)\n\n{found}\n", flush=True)


if __name__ == "__main__":
    main()
