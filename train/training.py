"""A training run: its state and an epoch of it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tqdm import tqdm

from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES, LabelEncoders
from fashion_model.backbones import backbone_named, load_pretrained, take_over
from fashion_model.checkpoint import (
    LARGEST_FILE,
    METRICS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    weight_files,
    write_json,
)
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import train_transform
from train.augment import RandomBackground, RandomLight, RandomReencode
from train.dataset import (
    DataError,
    EitherPhotographs,
    Photographs,
    ProductDataset,
    draw_epoch,
    encode_targets,
    read_photographs,
    read_table,
    repeat_factors,
    rows_of_split,
)
from train.evaluation import features_of, measure, probabilities_of
from train.fit_config import FitConfig
from train.trained_on import read_trained_on, without_pictures_of, write_trained_on
from train.versions import SharpPhotographs, VersionOf, shrunk

IMAGE_HEIGHT = "image_height"  # in an epoch's entry of the history: of the input it was trained on and measured at
PARTS = ("model", "average", "optimizer", "scheduler")  # of a training, with a state to resume from


class Training:
    """Everything that a run holds and that its resume file has to bring back."""

    def __init__(self, config: FitConfig):
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device(config.device)
        data = Path(config.data)
        table = read_table(data)
        rows = {split: rows_of_split(table, split)[: config.rows_limit] for split in (TRAIN, VALIDATION)}
        self.trained_ids = set(rows[TRAIN]["id"])
        self.taken_over: list[str] = []  # digests of the weights of checkpoints that go into this run
        self.encoders = LabelEncoders.fit({a.column: rows[TRAIN][a.column] for a in ATTRIBUTES})
        model_config = ModelConfig.for_backbone(
            config.backbone,
            self.encoders.num_classes,
            image_size=config.image_size,
            dropout=config.dropout,
            heads=config.heads,
            experts=config.experts,
            mirrored=config.mirrored,
        )
        self.model = MultiTaskClassifier(model_config)
        if Path(config.weights).is_dir():
            self._go_on_from(self._own(Path(config.weights)))
        else:
            load_pretrained(self.model.backbone, config.backbone, config.weights)
        teachers = [self._own(Path(directory)) for directory in config.teachers]
        rows[VALIDATION] = without_pictures_of(rows[VALIDATION], table, self.trained_ids)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=self._update_average, use_buffers=True)
        targets = encode_targets(rows[TRAIN], self.encoders)
        self.factors = repeat_factors(targets, config.rare)
        self.sharp = SharpPhotographs([Path(path) for path in config.sharp])
        if config.sharp:
            self.sharp.among_split(rows[TRAIN], TRAIN)
        thumbnails = read_photographs(data, rows[TRAIN])
        self.lessons = self._lessons(teachers, thumbnails)
        photographs = self._with_sharp(thumbnails, rows[TRAIN]["id"].tolist())
        self.augmentations = self._augmentations(photographs)
        self.train_set = ProductDataset(photographs, targets, train_transform(model_config, self.augmentations))
        self.validation = self._validation(read_photographs(data, rows[VALIDATION]), rows[VALIDATION])
        self.identity = config.settings() | {
            "rows": _fingerprint([*rows.values()]),
            "taken_over": self.taken_over,
            "chosen_by": list(self.validation),  # kinds of photograph that the best epoch is best on
        }
        steps = -(-len(draw_epoch(self.factors, torch.Generator())) // config.batch_size) * config.epochs
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.learning_rate, steps)
        self.history: list[dict[str, Any]] = []

    def _own(self, directory: Path) -> Checkpoint:
        """A checkpoint with the labels of this run. What it was trained on counts as trained on here."""
        trained_on = read_trained_on(directory)
        checkpoint = load_checkpoint(directory)
        if checkpoint.encoders != self.encoders:
            raise CheckpointError(f"{directory} has other labels than this run")
        self.trained_ids |= trained_on
        for path in weight_files(directory):
            self.taken_over.append(hashlib.sha256(path.read_bytes()).hexdigest())
        return checkpoint

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        """Take over the weights of backbone and heads. The rest of a checkpoint is fitted after training."""
        kind, own = (
            f"backbone {c.backbone}, {c.heads} heads, {c.experts} experts"
            for c in (checkpoint.config, self.model.config)
        )
        if kind != own:
            raise CheckpointError(f"{checkpoint.name} has {kind}; this run has {own}")
        take_over(self.model.backbone, checkpoint.model.backbone)
        self.model.heads.load_state_dict(checkpoint.model.heads.state_dict())

    def _lessons(self, teachers: list[Checkpoint], photographs: Photographs) -> dict[str, torch.Tensor]:
        """Attribute → the teachers' mean probabilities (N, classes) for the rows; {} without teachers.

        One answer a product, to its thumbnail as it is: all its versions are pulled towards that one.
        """
        answers = []
        for teacher in teachers:
            model = teacher.model.to(self.device, memory_format=torch.channels_last)
            answers.append(probabilities_of(model, features_of(model, photographs, self.config.workers)))
        if not answers:
            return {}
        return {name: torch.from_numpy(sum(a[name] for a in answers) / len(answers)) for name in NAMES}

    def _with_sharp(self, thumbnails: Photographs, products: list[int]) -> Photographs:
        if not self.config.sharp:
            return thumbnails
        known = tqdm([i for i in products if i in self.sharp], desc="shrinking", unit="image", disable=None)
        return EitherPhotographs(thumbnails, {i: shrunk(self.sharp[i], i) for i in known}, products)

    def _validation(self, thumbnails: Photographs, rows: pd.DataFrame) -> dict[str, tuple[Photographs, torch.Tensor]]:
        """Kind of photograph → photographs and their targets (N, 4)."""
        found = {"thumbnails": (thumbnails, encode_targets(rows, self.encoders))}
        with_sharp = self.sharp.among(rows)
        if len(with_sharp):
            photographs = VersionOf(self.sharp, with_sharp["id"].tolist())
            found["sharp"] = (photographs, encode_targets(with_sharp, self.encoders))
        return found

    def _augmentations(self, photographs: Photographs) -> list[nn.Module]:
        config = self.config
        return [
            v2.RandomApply([RandomBackground(photographs)], config.background),
            v2.RandomApply([RandomLight()], config.light),
            v2.RandomApply([RandomReencode()], config.reencode),
        ]

    def _update_average(
        self, averages: list[torch.Tensor], current: list[torch.Tensor], steps: torch.Tensor | int
    ) -> None:
        """Short at first, so that the start is forgotten in short runs too."""
        decay = min(self.config.average, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(decay)(averages, current, steps)

    def train_one_epoch(self, epoch: int) -> dict[str, float]:
        """Mean loss, and photographs a second. The epoch's randomness hangs on seed and epoch alone."""
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self._set_image_size(self.config.first_size if epoch < self.config.first_epochs else self.config.image_size)
        batches = torch.tensor(draw_epoch(self.factors, generator)).split(self.config.batch_size)
        loader = DataLoader(
            self.train_set,
            batch_sampler=[batch.tolist() for batch in batches],
            generator=generator,
            num_workers=self.config.workers,
        )
        self.model.train()
        start, total, seen = time.perf_counter(), 0.0, 0
        progress = tqdm(loader, desc=f"epoch {epoch + 1}/{self.config.epochs}", unit="batch", disable=None)
        for batch, (images, targets) in zip(batches, progress, strict=True):
            lessons = {name: answers[batch] for name, answers in self.lessons.items()}
            loss = self.train_one_batch(images, targets, lessons)
            total, seen = total + loss * len(images), seen + len(images)
            speed = seen / (time.perf_counter() - start)
            progress.set_postfix(loss=f"{total / seen:.3f}", images_per_second=f"{speed:.0f}", refresh=False)
        return {"loss": total / seen, "images_per_second": speed}

    def _set_image_size(self, image_size: tuple[int, int]) -> None:
        """(height, width) of what is trained on, measured and saved: a network knows the size it was trained for."""
        config = dataclasses.replace(self.model.config, image_size=image_size)
        self.model.config = self.average.module.config = config
        self.train_set.transform = train_transform(config, self.augmentations)

    def train_one_batch(
        self, images: torch.Tensor, targets: torch.Tensor, lessons: Mapping[str, torch.Tensor]
    ) -> float:
        """images (B, 3, H, W), targets (B, 4), lessons: attribute → the teachers' probabilities (B, classes), or {}.

        The loss: the four cross-entropies added up, averaged over the batch, and the weighted uneven use of experts.
        """
        images = images.to(self.device, memory_format=torch.channels_last)
        targets = targets.to(self.device)
        smoothing, teaching = self.config.label_smoothing, self.config.teaching
        with autocast(self.device, self.config.backbone):
            pooled = self.model.pool(self.model.features(images))
            logits = self.model.heads(pooled)
            loss = self._uneven_use(pooled)
        for i, name in enumerate(NAMES):
            own = nn.functional.cross_entropy(logits[name].float(), targets[:, i], label_smoothing=smoothing)
            if lessons:
                taught = nn.functional.cross_entropy(logits[name].float(), lessons[name].to(self.device))
                own = (1 - teaching) * own + teaching * taught
            loss = loss + own
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.average.update_parameters(self.model)
        return loss.item()

    def _uneven_use(self, pooled: torch.Tensor) -> torch.Tensor:
        """Of the experts by all attributes together: one that serves a single attribute is of use."""
        shares = self.model.heads.gate_shares(pooled) if self.config.balance else {}
        if not shares:
            return torch.zeros((), device=self.device)
        return self.config.balance * uneven_use(torch.cat([s.float() for s in shares.values()]))

    def validate(self) -> dict[str, dict[str, Any]]:
        """Kind of photograph → the figures of the averaged weights on those of the validation split."""
        model = self.average.module
        return {
            kind: measure(
                probabilities_of(model, features_of(model, photographs, self.config.workers)), targets, bootstrap=False
            )
            for kind, (photographs, targets) in self.validation.items()
        }

    def save_best(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint directory, in half precision, which changes no figure at the digits we show.

        `metrics` are those of the thumbnails.
        """
        output = Path(self.config.output)
        write_trained_on(output, self.trained_ids)
        save_checkpoint(output, self.average.module, self.encoders, torch.float16, LARGEST_FILE)
        rows = len(self.validation["thumbnails"][1])
        write_json(output / METRICS, {"split": VALIDATION, "rows": rows, **metrics})

    def save_state(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        torch.save(
            {part: getattr(self, part).state_dict() for part in PARTS}
            | {"history": self.history, "fitting": self.identity},
            unfinished,
        )
        unfinished.replace(path)

    def load_state(self, path: Path) -> None:
        """DataError if the run was started with other settings, which could not lead to the same result."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        before = FitConfig("", "").settings() | state["fitting"]  # an older state lacks what did not exist then
        differing = {k: (v, before.get(k)) for k, v in self.identity.items() if before.get(k) != v}
        if differing:
            raise DataError(f"{path} belongs to a run with other settings or data (now, then): {differing}")
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.history = state["history"]
        for entry in self.history:  # an older run measured all its epochs at the whole size
            entry.setdefault(IMAGE_HEIGHT, self.config.image_size[0])


def uneven_use(shares: torch.Tensor) -> torch.Tensor:
    """Shares (B, experts) of the experts → squared coefficient of variation of their use (Shazeer et al., ICLR 2017).

    0 where all are used alike; experts - 1 where one has everything.
    """
    use = shares.mean(dim=0)
    return use.var(correction=0) / use.mean() ** 2


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
