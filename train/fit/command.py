"""Train a network and write its checkpoint directory.

Trains on every domain that data_prep has prepared. After each epoch the checkpoint has the moving average of the
weights and, in training.json, the settings, what was trained on, and the metrics of all epochs. Its folder training/
has what --resume needs to continue to the same result; if only the checkpoint is left, --resume continues from the
averaged weights, and training.json says so.

    torchrun --nproc-per-node N -m train fit …

trains in N processes, each with a part of every batch; the batch size stays that of the settings.
"""

from pathlib import Path
from typing import Any

import torch

from fashion_model.checkpoint import (
    CHECKPOINT_FILES,
    MAX_SHARD_SIZE,
    TRAINING,
    UNFINISHED,
    load_checkpoint,
    read_json,
    save_checkpoint,
    write_json,
)
from train.data.loading import keep_freed_memory
from train.data.table import DataError, write_trained_on
from train.fit.config import LENGTH, FitConfig
from train.fit.start import FitData, ImageNetTeacher, build_model, read_data
from train.fit.trainer import Trainer

Config = FitConfig
STATE = "training/state.pt"  # in the checkpoint directory
WRITTEN = (*CHECKPOINT_FILES, STATE)  # written or deleted there


def run(config: FitConfig) -> None:
    config = config.effective
    if any(path for name in WRITTEN for path in config.output.glob(name)) and not is_run(config.output):
        raise DataError(f"{config.output} holds files that no training has written; name another folder")
    if config.device == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    data = read_data(config)
    model, trained_on, digests = build_model(config, data)
    teacher = ImageNetTeacher(config.backbone, config.image_size) if config.imagenet_distillation_weight else None
    trainer = Trainer(config, model, data.training_set, teacher)
    document: dict[str, Any] = {
        "settings": config.settings(),
        "data": data.fingerprint,
        "initial_weights": digests,
        "restarts": [],  # epochs after which the optimizer's state was lost
        "history": [],
    }
    if config.resume and (config.output / TRAINING).is_file():
        resume(config, trainer, document)
    else:
        (config.output / STATE).unlink(missing_ok=True)  # of an earlier run
        if config.linear_probe_steps:
            trainer.train_heads()
    for epoch in range(len(document["history"]), config.epochs):
        trained = trainer.train_one_epoch(epoch)
        if trainer.accelerator.is_main_process:  # the others wait for its first gradients
            metrics = trainer.validate(data.validation)
            entry = {"epoch": epoch + 1, "image_side": trainer.model.config.image_size[0], **trained}
            entry["learning_rate"] = trainer.optimizer.param_groups[0]["lr"]
            shown = {f"{domain}_{name}": round(x, 4) for domain, of in metrics.items() for name, x in of.items()}
            print(f"{entry | shown}", flush=True)
            document["history"].append(entry | {"validation": metrics})
            save(config.output, trainer, data, document, data.trained_on | trained_on)
    trainer.accelerator.end_training()


def is_run(folder: Path) -> bool:
    """Whether a training has written what is in the folder, or has not completed its first checkpoint there."""
    if (folder / UNFINISHED).is_dir():
        return True
    try:
        return {"settings", "history"} <= read_json(folder / TRAINING).keys()
    except (OSError, ValueError, AttributeError):
        return False


def resume(config: FitConfig, trainer: Trainer, document: dict[str, Any]) -> None:
    """Continue the run of `config.output`. DataError if it has other settings or data: it would not reach the same."""
    before = read_json(config.output / TRAINING)
    now, then = (
        {**run["settings"], **run["data"], "initial_weights": run["initial_weights"]} for run in (document, before)
    )
    changed = [key for key in now | then if key not in LENGTH and now.get(key) != then.get(key)]
    if changed:
        changes = ", ".join(f"{key} {now.get(key)!r} instead of {then.get(key)!r}" for key in changed)
        raise DataError(f"{config.output} belongs to another run: {changes}")
    document |= {"restarts": before["restarts"], "history": before["history"]}
    if (config.output / STATE).is_file():
        trainer.load_state(config.output / STATE)
        document["history"] = before["history"][: trainer.step // trainer.steps_per_epoch]
    else:
        epochs = len(before["history"])
        trainer.restart(load_checkpoint(config.output).model, epochs)
        document["restarts"].append(epochs)
    if trainer.accelerator.is_main_process:
        print(f"resuming after epoch {len(document['history'])}", flush=True)


def save(output: Path, trainer: Trainer, data: FitData, document: dict[str, Any], trained_on: set[str]) -> None:
    """The checkpoint in half precision, which changes no metric in the digits shown; last the state, so that a run
    killed meanwhile goes on from the state before."""
    write_trained_on(output, trained_on)
    save_checkpoint(output, trainer.ema.module, data.encoders, torch.float16, MAX_SHARD_SIZE)
    seconds = sum(entry["seconds"] for entry in document["history"])
    write_json(output / TRAINING, document | {"hours": round(seconds / 3600, 2)})
    trainer.save_state(output / STATE)
