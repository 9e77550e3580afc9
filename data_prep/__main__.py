"""python -m data_prep COMMAND …; `python -m data_prep COMMAND --help` explains each."""

from __future__ import annotations

import sys

from fashion_model.system import run_command

COMMANDS = {
    "catalogue": "data_prep.clean_data",
    "phone-photographs": "data_prep.phone_photographs",
    "street-photographs": "data_prep.street_photographs",
    "photographs": "data_prep.photographs",
    "class-distribution": "data_prep.clean_data:draw_class_distribution",
}


def main(arguments: list[str]) -> int:
    """The exit status of the command; the module of each can also be run by itself."""
    return run_command("data_prep", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
