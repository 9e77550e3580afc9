"""python -m train COMMAND …; `python -m train COMMAND --help` explains each."""

from __future__ import annotations

import sys

from train import (
    benchmark,
    calibrate,
    compare,
    evaluate,
    explanations,
    fit,
    import_original,
    push_space,
    push_to_hub,
    soft_targets,
    soup,
)
from train.report import command as report

COMMANDS = {
    "soft_targets": soft_targets.main,
    "fit": fit.main,
    "soup": soup.main,
    "calibrate": calibrate.main,
    "evaluate": evaluate.main,
    "report": report.main,
    "compare": compare.main,
    "explanations": explanations.main,
    "benchmark": benchmark.main,
    "push_to_hub": push_to_hub.main,
    "push_space": push_space.main,
    "import_original": import_original.main,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m train {{{','.join(COMMANDS)}}} …", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
