"""python -m train COMMAND …; `python -m train COMMAND --help` explains each.

The settings of a command are the dataclass `Config` of its module, which is also its command line.
"""

from __future__ import annotations

import importlib
import sys

from fashion_model.console import ended_by_ctrl_c, sentence_of, show_all_characters

with ended_by_ctrl_c():
    import tyro

    from fashion_model.hub import HubError

COMMANDS = {
    "recipe": "train.recipes.command",
    "soft-targets": "train.fit.soft_targets",
    "fit": "train.fit.command",
    "soup": "train.finish.soup",
    "calibrate": "train.finish.calibrate",
    "import-original": "train.finish.import_original",
    "evaluate": "train.evaluate.command",
    "report": "train.report.command",
    "push-to-hub": "train.publish.push_to_hub",
    "push-space": "train.publish.push_space",
    "check-release": "train.publish.check_release",
    "benchmark": "train.studies.benchmark.command",
    "compare": "train.studies.compare",
    "saliency": "train.studies.saliency",
}


def main(arguments: list[str]) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    show_all_characters()
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m train {{{','.join(COMMANDS)}}} …", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    name, *options = arguments
    with ended_by_ctrl_c():
        module = importlib.import_module(COMMANDS[name])
    try:
        config = tyro.cli(module.Config, prog=f"python -m train {name}", description=module.__doc__, args=options)
        module.run(config)
    except (ValueError, OSError, HubError) as error:  # CheckpointError, DataError, WeightsError are ValueErrors
        print(f"{name}: {sentence_of(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
