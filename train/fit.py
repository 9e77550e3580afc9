"""Train a network and write its checkpoint directory.

    python -m train fit --data data/ --output runs/NAME

Trains on every kind of picture that data_prep has put into `--data`. `--output` becomes a checkpoint directory with the
weights of the best epoch, of the whole size once there is one, and keeps what `--resume` needs, and a log, in its
folder training/.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import Any

from fashion_model.attributes import NAMES
from fashion_model.backbones import BACKBONES, NO_WEIGHTS, WeightsError
from fashion_model.checkpoint import CheckpointError, write_json
from fashion_model.heads import LINEAR, MIXTURE
from fashion_model.model import ModelConfig
from train.dataset import DataError
from train.fit_config import EXPERTS, FitConfig
from train.memory import keep_freed_memory
from train.training import IMAGE_SIDE, Training

CHOSEN_BY = "validation_loss"  # of an epoch: the cross-entropies of all attributes and kinds of photograph, summed
STATE = "training/state.pt"  # in a checkpoint directory: what --resume needs
FIT = "training/fit.json"  # in a checkpoint directory: the settings of the run


def fit(config: FitConfig, resume: bool = False) -> dict[str, Any]:
    """Train and return the best epoch's entry of the history, see `best`."""
    training = Training(config)
    state = Path(config.output) / STATE
    if resume and state.is_file():
        training.load_state(state)
        print(f"resuming after epoch {len(training.history)}")
    else:
        state.unlink(missing_ok=True)
        (Path(config.output) / FIT).unlink(missing_ok=True)  # of an earlier run
    if not training.history:
        training.train_heads()
        if not config.epochs:
            record(training, -1, {})
    for epoch in range(len(training.history), config.epochs):
        record(training, epoch, training.train_one_epoch(epoch))
    write_json(Path(config.output) / FIT, training.identity)
    return best(training.history)


def record(training: Training, epoch: int, trained: dict[str, float]) -> None:
    """Measure the network after an epoch, -1 being the heads alone, and save it if it is the best so far."""
    metrics = training.validate()
    entry = {"epoch": epoch + 1, IMAGE_SIDE: training.model.config.image_size[0], **trained}
    entry[CHOSEN_BY] = sum(of_kind["cross_entropy_sum"] for of_kind in metrics.values())
    entry |= {f"{kind}_{name}": value for kind, of_kind in metrics.items() for name, value in of_kind.items()}
    print("  ".join(f"{k} {v:.4g}" for k, v in entry.items()), flush=True)
    training.history.append(entry)
    if best(training.history) is entry:
        training.save_best(metrics)
    state = Path(training.config.output) / STATE
    training.save_state(state)
    write_log(state.with_name("log.csv"), training.history)


def best(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry with the least cross-entropy, summed over attributes and kinds of photograph.

    Of those measured at the size of the last one: figures of the first epochs, of a smaller size, are others.
    """
    alike = [entry for entry in history if entry[IMAGE_SIDE] == history[-1][IMAGE_SIDE]]
    return min(alike, key=lambda entry: entry[CHOSEN_BY])


def write_log(path: Path, history: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def parse_arguments(arguments: list[str] | None) -> tuple[FitConfig, bool]:
    defaults = FitConfig(data="", output="")
    parser = argparse.ArgumentParser(
        prog="python -m train fit",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="what data_prep.clean_data wrote")
    parser.add_argument("--output", required=True, help="the checkpoint directory to write")
    parser.add_argument("--backbone", choices=list(BACKBONES), default=defaults.backbone)
    parser.add_argument("--heads", choices=(LINEAR, MIXTURE), default=defaults.heads)
    parser.add_argument("--experts", type=int, help=f"how many {MIXTURE} heads have; {EXPERTS}")
    parser.add_argument("--balance", type=float, default=defaults.balance, help="weight of the experts' uneven use")
    parser.add_argument(
        "--mirrored", action="store_true", help="in use, look at the mirrored photograph too, in twice the time"
    )
    parser.add_argument("--weights", help="imagenet (none with --smoke), none, a file, or a checkpoint to go on from")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=defaults.image_size)
    parser.add_argument("--epochs", type=int, default=defaults.epochs, help="0 to train the heads alone")
    parser.add_argument(
        "--first-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        default=defaults.first_size,
        help="smaller input, sooner done, in the first --first-epochs; none",
    )
    parser.add_argument("--first-epochs", type=int, default=defaults.first_epochs, help="of all --epochs")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--heads-rate", type=float, default=defaults.heads_rate, help="times that for the heads")
    parser.add_argument(
        "--heads-steps", type=int, default=defaults.heads_steps, help="batches to train the heads alone first"
    )
    parser.add_argument(
        "--frozen-stages", type=int, default=defaults.frozen_stages, help="of the backbone, from the input on"
    )
    parser.add_argument(
        "--average", type=float, default=defaults.average, help="decay of the moving average of the weights; 0 for none"
    )
    parser.add_argument("--soft-targets", metavar="FILE", default="", help="another network's answers to learn from")
    parser.add_argument(
        "--soft-weight", type=float, default=defaults.soft_weight, help="of these answers in the target"
    )
    parser.add_argument(
        "--imagenet-weight", type=float, default=defaults.imagenet_weight, help="of keeping ImageNet's classes in mind"
    )
    parser.add_argument("--fashion-weight", type=float, default=defaults.fashion_weight, help="of fashion or not")
    parser.add_argument(
        "--rare", type=float, default=defaults.rare, help="rarer labels than this share come more often"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes that prepare photographs")
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--smoke", action="store_true", help="a tiny run through the same code")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch, if there is one")
    options = vars(parser.parse_args(arguments))
    resume, smoke = options.pop("resume"), options.pop("smoke")
    options["weights"] = options["weights"] or (NO_WEIGHTS if smoke else defaults.weights)
    options |= {key: tuple(options[key]) for key in ("image_size", "first_size")}
    if options["experts"] is None:
        options["experts"] = EXPERTS if options["heads"] == MIXTURE else 0
    if not 0 <= options["balance"] < math.inf or (options["balance"] and options["heads"] != MIXTURE):
        parser.error(f"--balance has to be a number from 0 on, and 0 without {MIXTURE} heads")
    shape = {key: options[key] for key in ("image_size", "heads", "experts")}
    try:
        ModelConfig.for_backbone(options["backbone"], dict.fromkeys(NAMES, 1), **shape)
        config = FitConfig(**options)
    except ValueError as error:
        parser.error(str(error))
    return (config.shrunk() if smoke else config), resume


def main(arguments: list[str] | None = None) -> int:
    config, resume = parse_arguments(arguments)
    if config.device == "cpu":
        keep_freed_memory()
    try:
        entry = fit(config, resume)
    except (CheckpointError, DataError, WeightsError, OSError) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 2
    print(f"best epoch {entry['epoch']}: {config.output}")
    return 0
