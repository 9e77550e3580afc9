"""python -m fashion_model predict FILE_OR_FOLDER… labels photographs; `predict --help` explains its options."""

from __future__ import annotations

import sys

from fashion_model.system import run_command

COMMANDS = {"predict": "fashion_model.batch"}


def main(arguments: list[str] | None = None) -> int:
    return run_command("fashion_model", COMMANDS, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
