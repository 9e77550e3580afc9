"""Train a network and write its checkpoint directory.

    python -m train fit --data data/ --output runs/NAME

About eight minutes an epoch on two cores for the compact default at 128×96. `--output` becomes a checkpoint directory
with the weights of the best epoch, and keeps what `--resume` needs, and a log, in its folder training/.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES, LabelEncoders
from fashion_model.backbones import BACKBONES, IMAGENET, NO_WEIGHTS, WeightsError, backbone_named, load_pretrained
from fashion_model.checkpoint import METRICS, save_checkpoint, write_json
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import eval_transform, train_transform
from train.dataset import (
    DataError,
    ProductDataset,
    encode_targets,
    evaluation_loader,
    read_photographs,
    read_table,
    rows_of_split,
)
from train.evaluate import TRAINED_ON, measure, predict_probabilities
from train.memory import keep_freed_memory


@dataclass(frozen=True)
class FitConfig:
    data: str
    output: str
    backbone: str = "efficientnet_lite0"
    weights: str = IMAGENET  # imagenet, none or a local file
    image_size: tuple[int, int] = (128, 96)  # height, width
    epochs: int = 7
    batch_size: int = 64
    learning_rate: float = 1.5e-3  # at its peak
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    dropout: float = 0.2
    reencode: float = 1.0  # share of the training photographs resampled and JPEG-compressed anew each time
    seed: int = 0
    workers: int = 1
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    smoke: bool = False  # a few hundred photographs, small, for two epochs: the same path in seconds

    def shrunk(self) -> FitConfig:
        """What --smoke trains."""
        return dataclasses.replace(self, smoke=True, image_size=(64, 48), epochs=2, batch_size=16)

    @property
    def rows_limit(self) -> int | None:
        return 256 if self.smoke else None


class Training:
    """Everything that a run holds and that its resume file has to bring back."""

    def __init__(self, config: FitConfig):
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device(config.device)
        data = Path(config.data)
        table = read_table(data)
        rows = {split: rows_of_split(table, split)[: config.rows_limit] for split in (TRAIN, VALIDATION)}
        self.trained_ids = rows[TRAIN]["id"].tolist()
        self.identity = _settings(config) | {"rows": _fingerprint([*rows.values()])}
        self.encoders = LabelEncoders.fit({a.column: rows[TRAIN][a.column] for a in ATTRIBUTES})
        model_config = ModelConfig.for_backbone(
            config.backbone, self.encoders.num_classes, image_size=config.image_size, dropout=config.dropout
        )
        self.model = MultiTaskClassifier(model_config)
        load_pretrained(self.model.backbone, config.backbone, config.weights)
        self.model.to(self.device, memory_format=torch.channels_last)
        targets = {split: encode_targets(rows[split], self.encoders) for split in rows}
        self.train_set = ProductDataset(
            read_photographs(data, rows[TRAIN]), targets[TRAIN], train_transform(model_config, config.reencode)
        )
        self.validation_targets = targets[VALIDATION]
        self.validation_loader = evaluation_loader(
            read_photographs(data, rows[VALIDATION]),
            targets[VALIDATION],
            eval_transform(model_config),
            workers=config.workers,
        )
        steps = -(-len(self.train_set) // config.batch_size) * config.epochs
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.learning_rate, steps)
        self.history: list[dict[str, Any]] = []

    def train_one_epoch(self, epoch: int) -> dict[str, float]:
        """Mean loss, and photographs a second. The epoch's randomness hangs on seed and epoch alone."""
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(
            self.train_set, self.config.batch_size, shuffle=True, generator=generator, num_workers=self.config.workers
        )
        self.model.train()
        start, total, seen = time.perf_counter(), 0.0, 0
        progress = tqdm(loader, desc=f"epoch {epoch + 1}/{self.config.epochs}", unit="batch", disable=None)
        for images, targets in progress:
            loss = self.train_one_batch(images, targets)
            total, seen = total + loss * len(images), seen + len(images)
            speed = seen / (time.perf_counter() - start)
            progress.set_postfix(loss=f"{total / seen:.3f}", images_per_second=f"{speed:.0f}", refresh=False)
        return {"loss": total / seen, "images_per_second": speed}

    def train_one_batch(self, images: torch.Tensor, targets: torch.Tensor) -> float:
        """images (B, 3, H, W), targets (B, 4). The four cross-entropies added up, averaged over the batch."""
        images = images.to(self.device, memory_format=torch.channels_last)
        targets = targets.to(self.device)
        with autocast(self.device, self.config.backbone):
            logits = self.model(images)
            loss = sum(
                nn.functional.cross_entropy(
                    logits[name].float(), targets[:, i], label_smoothing=self.config.label_smoothing
                )
                for i, name in enumerate(NAMES)
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def validate(self) -> dict[str, Any]:
        probabilities = predict_probabilities(self.model, self.validation_loader)
        return measure(probabilities, self.validation_targets, bootstrap=False)

    def save_best(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint directory, in half precision, which changes no figure at the digits we show."""
        output = Path(self.config.output)
        save_checkpoint(output, self.model, self.encoders, dtype=torch.float16)
        rows = len(self.validation_targets)
        write_json(output / METRICS, {"split": VALIDATION, "rows": rows, **metrics})
        (output / TRAINED_ON).write_text("".join(f"{i}\n" for i in sorted(self.trained_ids)), encoding="utf-8")

    def save_state(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        torch.save(
            {part: getattr(self, part).state_dict() for part in ("model", "optimizer", "scheduler")}
            | {"history": self.history, "fitting": self.identity},
            unfinished,
        )
        unfinished.replace(path)

    def load_state(self, path: Path) -> None:
        """DataError if the run was started with other settings, which could not lead to the same result."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        differing = {k: (v, state["fitting"].get(k)) for k, v in self.identity.items() if state["fitting"].get(k) != v}
        if differing:
            raise DataError(f"{path} belongs to a run with other settings or data (now, then): {differing}")
        for part in ("model", "optimizer", "scheduler"):
            getattr(self, part).load_state_dict(state[part])
        self.history = state["history"]


def _settings(config: FitConfig) -> dict[str, Any]:
    """Those that decide the result."""
    document = dataclasses.asdict(config) | {"image_size": list(config.image_size)}
    return {key: value for key, value in document.items() if key not in ("data", "output", "device")}


def _fingerprint(parts: list[pd.DataFrame]) -> str:
    """Of ids and labels, in their order."""
    columns = ["id", *(attribute.column for attribute in ATTRIBUTES)]
    text = "".join(part[columns].to_csv(index=False) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def autocast(device: torch.device, backbone: str) -> AbstractContextManager:
    """bfloat16 where it pays: on GPUs that have it, and on CPUs that have it for backbones of dense convolutions."""
    if device.type == "cuda":
        pays = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        pays = backbone_named(backbone).bf16_pays_on_cpu and (has.get("amx_bf16") or has.get("avx512_bf16"))
    return torch.autocast(device.type, dtype=torch.bfloat16) if pays else nullcontext()


def fit(config: FitConfig, resume: bool = False) -> dict[str, Any]:
    """Train and return the best epoch's entry of the history. The best epoch has the least summed cross-entropy."""
    training = Training(config)
    state = Path(config.output) / "training" / "state.pt"
    if resume and state.is_file():
        training.load_state(state)
        print(f"resuming after epoch {len(training.history)}")
    else:
        state.unlink(missing_ok=True)
    for epoch in range(len(training.history), config.epochs):
        trained = training.train_one_epoch(epoch)
        metrics = training.validate()
        entry = {
            "epoch": epoch + 1,
            **trained,
            "cross_entropy_sum": metrics["cross_entropy_sum"],
            **{f"{name}_accuracy": metrics["attributes"][name]["accuracy"] for name in NAMES},
        }
        print("  ".join(f"{k} {v:.4g}" for k, v in entry.items()), flush=True)
        if not training.history or entry["cross_entropy_sum"] < best(training.history)["cross_entropy_sum"]:
            training.save_best(metrics)
        training.history.append(entry)
        training.save_state(state)
        write_log(state.with_name("log.csv"), training.history)
    write_json(state.with_name("fit.json"), training.identity)
    return best(training.history)


def best(history: list[dict[str, Any]]) -> dict[str, Any]:
    return min(history, key=lambda entry: entry["cross_entropy_sum"])


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
    parser.add_argument("--weights", help="imagenet (none with --smoke), none or a local file")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=defaults.image_size)
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--reencode",
        type=float,
        default=defaults.reencode,
        help="share of training photographs resampled and compressed anew",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes that prepare photographs")
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--smoke", action="store_true", help="a tiny run through the same code")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch, if there is one")
    options = vars(parser.parse_args(arguments))
    resume, smoke = options.pop("resume"), options.pop("smoke")
    options["weights"] = options["weights"] or (NO_WEIGHTS if smoke else defaults.weights)
    options["image_size"] = tuple(options["image_size"])
    config = FitConfig(**options)
    return (config.shrunk() if smoke else config), resume


def main(arguments: list[str] | None = None) -> int:
    config, resume = parse_arguments(arguments)
    if config.device == "cpu":
        keep_freed_memory()
    try:
        entry = fit(config, resume)
    except (DataError, WeightsError, OSError) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 2
    print(f"best epoch {entry['epoch']}: {config.output}")
    return 0
