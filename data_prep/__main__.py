"""python -m data_prep COMMAND …; `python -m data_prep COMMAND --help` explains each."""

from __future__ import annotations

import sys

from fashion_model.console import run_command

COMMANDS = {"street-photographs": "data_prep.street_photographs"}

if __name__ == "__main__":
    sys.exit(run_command("data_prep", COMMANDS, sys.argv[1:]))
