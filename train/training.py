"""A training run: its state and an epoch of it."""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import ATTRIBUTES, LabelEncoders
from fashion_model.backbones import (
    IMAGENET,
    WeightsError,
    backbone_named,
    imagenet_classifier,
    load_pretrained,
    take_over,
)
from fashion_model.checkpoint import (
    LARGEST_FILE,
    METRICS,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    weight_files,
    write_json,
)
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import normalise
from train.dataset import DataError, draw_epoch, read_table, rows_of_split
from train.distillation import ImageNetMemory, load_soft_targets
from train.evaluation import features_of
from train.fit_config import FitConfig
from train.mixture import Mixture, training_pictures
from train.trained_on import read_trained_on, without_pictures_of, write_trained_on
from train.validation import validation_figures, validation_pictures

IMAGE_SIDE = "image_side"  # in an epoch's entry of the history: of the input it was trained on and measured at
PARTS = ("model", "average", "optimizer", "scheduler")  # of a training, with a state to resume from
SEEDS = 2**31  # of views


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
        self.taken_over: list[str] = []  # digests of the weights and answers of other networks that go into this run
        self.encoders = LabelEncoders.fit({a.column: rows[TRAIN][a.column] for a in ATTRIBUTES})
        self.model = self._build()
        rows[VALIDATION] = without_pictures_of(rows[VALIDATION], table, self.trained_ids)
        self.average = AveragedModel(self.model, multi_avg_fn=self._update_average, use_buffers=True)
        self.memory = self._memory()
        self.normalise = normalise(self.model.config)
        soft = self._soft_targets(rows[TRAIN]["id"].tolist())
        parts = training_pictures(data, rows[TRAIN], self.encoders, soft, config.soft_weight, config.rows_limit)
        self.mixture = Mixture(parts, data, self.encoders, config.image_size[0], config.rare)
        self.validation = validation_pictures(data, rows[VALIDATION], self.encoders, config.rows_limit)
        self.identity = config.settings() | {
            "rows": _fingerprint([*rows.values()]),
            "pictures": {part.kind: part.digest() for part in parts},
            "taken_over": self.taken_over,
            "chosen_by": [part.kind for part in self.validation],  # the best epoch is best on these
        }
        self._prepare_optimizer()
        self.history: list[dict[str, Any]] = []

    def _build(self) -> MultiTaskClassifier:
        config = self.config
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
            self._go_on_from(Path(config.weights))
        else:
            load_pretrained(self.model.backbone, config.backbone, config.weights)
        if config.frozen_stages >= len(self.model.backbone):
            raise WeightsError(f"{config.backbone} has {len(self.model.backbone)} stages; not all can be frozen")
        self.model.backbone[: config.frozen_stages].requires_grad_(False)
        return self.model.to(self.device, memory_format=torch.channels_last)

    def _go_on_from(self, directory: Path) -> None:
        """Take over the weights of a checkpoint with the labels of this run, and what it was trained on."""
        checkpoint = load_checkpoint(directory)
        if checkpoint.encoders != self.encoders:
            raise CheckpointError(f"{directory} has other labels than this run")
        kind, own = (
            f"backbone {c.backbone}, {c.heads} heads, {c.experts} experts"
            for c in (checkpoint.config, self.model.config)
        )
        if kind != own:
            raise CheckpointError(f"{checkpoint.name} has {kind}; this run has {own}")
        self.trained_ids |= read_trained_on(directory)
        self.taken_over += [hashlib.sha256(path.read_bytes()).hexdigest() for path in weight_files(directory)]
        take_over(self.model.backbone, checkpoint.model.backbone)
        self.model.heads.load_state_dict(checkpoint.model.heads.state_dict())
        self.model.fashion.load_state_dict(checkpoint.model.fashion.state_dict())

    def _memory(self) -> ImageNetMemory | None:
        if not self.config.imagenet_weight:
            return None
        name, first = self.config.backbone, self.config.frozen_stages
        weights = IMAGENET if Path(self.config.weights).is_dir() else self.config.weights
        backbone = backbone_named(name).build(self.config.image_size)
        load_pretrained(backbone, name, weights)
        for own, other in zip(self.model.backbone[:first].parameters(), backbone[:first].parameters(), strict=True):
            if not torch.allclose(own.cpu(), other, rtol=1e-3, atol=1e-4):  # a checkpoint's are of half precision
                raise WeightsError(f"the first {first} stages of {self.config.weights} are not those of ImageNet")
        memory = ImageNetMemory(backbone[first:], *imagenet_classifier(name, weights))
        return memory.to(self.device, memory_format=torch.channels_last)

    def _soft_targets(self, ids: list[int]) -> dict[str, torch.Tensor] | None:
        if not self.config.soft_targets:
            return None
        path = Path(self.config.soft_targets)
        found = load_soft_targets(path, ids, self.encoders)
        self.taken_over.append(hashlib.sha256(path.read_bytes()).hexdigest())
        return found

    def _prepare_optimizer(self) -> None:
        config = self.config
        backbone = [p for p in self.model.backbone.parameters() if p.requires_grad]
        heads = [*self.model.heads.parameters(), *self.model.fashion.parameters()]
        rates = [config.learning_rate, config.learning_rate * config.heads_rate]
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": rate} for p, rate in zip((backbone, heads), rates, strict=True)],
            weight_decay=config.weight_decay,
        )
        steps = -(-len(draw_epoch(self.mixture.factors, torch.Generator())) // config.batch_size) * config.epochs
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rates, max(steps, 1), pct_start=0.15)

    def _update_average(
        self, averages: list[torch.Tensor], current: list[torch.Tensor], steps: torch.Tensor | int
    ) -> None:
        """Short at first, so that the start is forgotten in short runs too."""
        decay = min(self.config.average, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(decay)(averages, current, steps)

    def _batches(self, epoch: int) -> DataLoader:
        """The epoch's views, at the size of its input; -1 is what comes before the first. Its randomness hangs on seed
        and epoch alone."""
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.tensor(draw_epoch(self.mixture.factors, generator))
        keys = torch.stack([rows, torch.randint(SEEDS, rows.shape, generator=generator)], dim=1)
        batches = [[tuple(key) for key in batch.tolist()] for batch in keys.split(self.config.batch_size)]
        small = max(epoch, 0) < self.config.first_epochs
        self._set_image_size(self.config.first_size if small else self.config.image_size)
        return DataLoader(
            self.mixture,
            batch_sampler=batches,
            generator=generator,
            num_workers=self.config.workers,
        )

    def _set_image_size(self, image_size: tuple[int, int]) -> None:
        """(height, width) of what is trained on, measured and saved: a network knows the size it was trained for."""
        for model in (self.model, self.average.module):
            model.config = ModelConfig.from_dict(model.config.to_dict() | {"image_size": image_size})
        self.mixture.size = image_size[0]

    def train_heads(self) -> None:
        """The heads alone, to the features that the backbone has before it is trained: linear probing first, then
        fine-tuning distorts these features less (Kumar et al., ICLR 2022). At most as many batches as an epoch has."""
        if not self.config.heads_steps:
            return
        heads = [*self.model.heads.parameters(), *self.model.fashion.parameters()]
        optimizer = torch.optim.AdamW(heads, lr=self.config.learning_rate * self.config.heads_rate)
        self.model.train()
        self.model.backbone.eval()
        batches = islice(self._batches(-1), self.config.heads_steps)
        for views, indices in tqdm(batches, desc="heads", unit="batch", total=self.config.heads_steps, disable=None):
            with torch.no_grad(), autocast(self.device, self.config.backbone):
                pooled = self.model.pool(self.model.backbone(self._images(views)))
            self._step(optimizer, self._loss(pooled.float(), indices))
        for averaged, own in zip(self.average.module.parameters(), self.model.parameters(), strict=True):
            averaged.data.copy_(own.data)

    def train_one_epoch(self, epoch: int) -> dict[str, float]:
        """Mean loss, and photographs a second."""
        loader = self._batches(epoch)
        self.model.train()
        self.model.backbone[: self.config.frozen_stages].eval()
        start, total, seen = time.perf_counter(), 0.0, 0
        progress = tqdm(loader, desc=f"epoch {epoch + 1}/{self.config.epochs}", unit="batch", disable=None)
        for views, indices in progress:
            loss = self.train_one_batch(views, indices)
            total, seen = total + loss * len(views), seen + len(views)
            speed = seen / (time.perf_counter() - start)
            progress.set_postfix(loss=f"{total / seen:.3f}", images_per_second=f"{speed:.0f}", refresh=False)
        return {"loss": total / seen, "images_per_second": speed}

    def train_one_batch(self, views: torch.Tensor, indices: torch.Tensor) -> float:
        """views (B, 3, H, W) uint8, indices (B,) of the mixture. The loss, averaged over the batch."""
        first = self.config.frozen_stages
        with autocast(self.device, self.config.backbone):
            with torch.no_grad():
                trunk = self.model.backbone[:first](self._images(views))
            pooled = self.model.pool(self.model.backbone[first:](trunk)).float()
        loss = self._loss(pooled, indices)
        if self.memory is not None:
            part = -(-len(views) // 2)  # the order is random; half of the batch is nearly as good, and cheaper
            with autocast(self.device, self.config.backbone):
                loss = loss + self.config.imagenet_weight * self.memory(trunk[:part], pooled[:part])
        self._step(self.optimizer, loss)
        self.scheduler.step()
        self.average.update_parameters(self.model)
        return loss.item()

    def _images(self, views: torch.Tensor) -> torch.Tensor:
        return self.normalise(views.to(self.device)).contiguous(memory_format=torch.channels_last)

    def _loss(self, pooled: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """The attributes' cross-entropies, summed over the pictures whose answer is known and divided by the batch, and
        that of fashion or not."""
        fashion = self.mixture.fashion[indices].to(self.device)
        scores = self.model.fashion_scores(nn.functional.dropout(pooled, self.config.dropout))
        loss = self.config.fashion_weight * nn.functional.binary_cross_entropy_with_logits(scores, fashion)
        for name, of_attribute in self.model.heads(pooled).items():
            targets = self.mixture.targets[name][indices].to(self.device)
            loss = loss - (targets * of_attribute.float().log_softmax(dim=1)).sum() / len(indices)
        shares = self.model.heads.gate_shares(pooled) if self.config.balance else {}
        if shares:  # of the experts by all attributes together: one that serves a single attribute is of use
            loss = loss + self.config.balance * uneven_use(torch.cat([s.float() for s in shares.values()]))
        return loss

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def validate(self) -> dict[str, dict[str, float]]:
        """Kind of picture → the figures of the averaged weights on those of the validation split."""
        model = self.average.module
        return {
            part.kind: validation_figures(model, features_of(model, part, self.config.workers), part)
            for part in self.validation
        }

    def save_best(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint directory, in half precision, which changes no figure at the digits we show."""
        output = Path(self.config.output)
        write_trained_on(output, self.trained_ids)
        save_checkpoint(output, self.average.module, self.encoders, torch.float16, LARGEST_FILE)
        write_json(output / METRICS, {"split": VALIDATION, "kinds": metrics})

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
        before = state["fitting"]
        differing = {k: (v, before.get(k)) for k, v in self.identity.items() if before.get(k) != v}
        if differing:
            raise DataError(f"{path} belongs to a run with other settings or data (now, then): {differing}")
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.history = state["history"]


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
