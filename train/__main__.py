"""python -m train COMMAND …; `python -m train COMMAND --help` explains each.

The settings of a command are the dataclass `Config` of its module, which is also its command line.
"""

from __future__ import annotations

import sys

from fashion_model.system import run_command

COMMANDS = {
    "recipe": "train.recipes",
    "fit": "train.fit.command",
    "calibrate": "train.finish.calibrate",
    "import-original": "train.finish.import_original",
    "evaluate": "train.evaluate.command",
    "report": "train.report.command",
    "push-to-hub": "train.publish.push_to_hub",
    "push-space": "train.publish.push_space",
    "check-release": "train.publish.check_release",
    "benchmark": "train.studies.benchmark",
    "saliency": "train.studies.saliency",
}


def main(arguments: list[str]) -> int:
    return run_command("train", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
