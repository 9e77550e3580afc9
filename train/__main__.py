"""python -m train COMMAND …; `python -m train COMMAND --help` explains each.

The settings of a command are a dataclass, the argument of its function, which is also its command line.
"""

import sys

from fashion_model.system import run_command

COMMANDS = {
    "recipe": "train.recipes",
    "fit": "train.fit.command",
    "calibrate": "train.finish.calibrate",
    "finder": "train.finish.finder",
    "import-original": "train.finish.import_original",
    "evaluate": "train.evaluate.split_metrics:evaluate",
    "report": "train.report.page:report",
    "push-to-hub": "train.publish.push:push_checkpoint",
    "push-space": "train.publish.push:push_space",
    "benchmark": "train.studies.benchmark",
    "backbones": "train.studies.backbones",
    "saliency": "train.studies.saliency",
}


def main(arguments: list[str]) -> int:
    return run_command("train", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
