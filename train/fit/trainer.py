"""The trainer: steps, epochs, validation, and the state to resume from.

Accelerate chooses the device, joins the processes that `torchrun` or `accelerate launch` started, and computes in
bfloat16 on GPUs that have it.
"""

import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from fashion_model.models.config import ModelConfig
from fashion_model.models.engine import WithoutGradients
from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.system import replacing
from train.data.domains import Domain
from train.data.loading import batches_of
from train.data.training_set import TrainingSet, draw_epoch
from train.evaluate.inference import Outputs, outputs_of
from train.fit.config import CONSTANTS, FitConfig
from train.fit.start import ImageNetTeacher

PARTS = ("model", "ema", "optimizer")  # of the state
SEEDS = 2**31  # of views
PROBE = -1  # the epoch in which only the heads are trained


class DivergenceError(ValueError):
    """The loss is not a finite number any more; the message says when."""


class Trainer:
    """Trains `model` on `training_set`; `ema` is the moving average of its weights."""

    def __init__(
        self,
        config: FitConfig,
        model: MultiTaskClassifier,
        training_set: TrainingSet,
        teacher: ImageNetTeacher | None = None,
    ):
        self.config, self.training_set = config, training_set
        on_cpu = config.device == "cpu"  # any other name stands for the accelerator of this machine
        bfloat16 = not on_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if bfloat16 else "no")
        self.device = self.accelerator.device
        if config.batch_size % self.accelerator.num_processes:
            raise ValueError(f"batch_size must be a multiple of the processes; it is {config.batch_size}")
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.teacher = teacher and teacher.to(self.device, memory_format=torch.channels_last)
        self.frozen = [WithoutGradients(part) for part in self.model.backbone.first_stages(config.frozen_stages)]
        self.normalise = model.config.preprocessing.normalise
        self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        backbone = [p for p in model.backbone.parameters() if p.requires_grad]
        self.rates = [config.learning_rate, config.learning_rate * CONSTANTS["heads_lr_factor"]]
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": lr} for p, lr in zip((backbone, self._head_parameters()), self.rates, strict=True)],
            weight_decay=CONSTANTS["weight_decay"],
        )
        self.step = 0  # of the whole run
        self.first_step = 0  # since the optimizer has its moments

    def train_heads(self) -> None:
        """Linear probing before fine-tuning distorts pretrained features less (Kumar et al., ICLR 2022)."""
        optimizer = torch.optim.AdamW(self._head_parameters(), lr=self.rates[1])
        self.model.train()
        self.model.backbone.eval()
        steps = self.config.linear_probe_steps
        batches = islice(self.batches(PROBE), steps)
        for views, indices in tqdm(batches, desc="heads", unit="batch", total=steps, disable=None):
            with torch.no_grad(), self.accelerator.autocast():
                pooled = self._features(self._images(views))
            self._step(optimizer, self._loss(pooled.float(), indices))
        self.ema.module.load_state_dict(self.model.state_dict())

    def train_one_epoch(self, epoch: int) -> dict[str, float]:
        """Train for an epoch; returns mean loss, seconds, and images a second."""
        self.model.train()
        for module in self.frozen:
            module.eval()
        times, total, steps = [time.perf_counter()], 0.0, self.steps_per_epoch
        quiet = None if self.accelerator.is_main_process else True  # None: where there is a terminal
        progress = tqdm(self.batches(epoch), f"epoch {epoch + 1}/{self.config.epochs}", steps, disable=quiet)
        for batch, (views, indices) in enumerate(progress, start=1):
            total += self.train_one_batch(views, indices)
            progress.set_postfix(loss=f"{total / batch:.3f}", refresh=False)
            times.append(time.perf_counter())
        loss = self.accelerator.reduce(torch.tensor(total / steps, device=self.device), "mean").item()
        of_steps = np.diff(times)
        seconds = float(np.minimum(of_steps, 10 * np.median(of_steps)).sum())  # the process may have been stopped
        speed = round(steps * self.config.batch_size / seconds, 2)
        return {"loss": loss, "seconds": round(seconds), "images_per_second": speed}

    def train_one_batch(self, views: torch.Tensor, indices: torch.Tensor) -> float:
        """Train on views (B, 3, H, W) uint8 of the images with indices (B,); returns this process's loss."""
        images = self._images(views)
        with self.accelerator.autocast():
            pooled = self._features(images).float()
        loss = self._loss(pooled, indices)
        if self.teacher is not None:
            part = math.ceil(CONSTANTS["distilled_part"] * len(views))  # the order is random
            with self.accelerator.autocast():
                loss = loss + self.config.imagenet_distillation_weight * self.teacher(images[:part], pooled[:part])
        factor = self.learning_rate_factor(self.step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self._step(self.optimizer, loss)
        self.step += 1
        self.ema.update_parameters(self.model)
        return loss.item()

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.config.epoch_views / self.config.batch_size)

    def learning_rate_factor(self, step: int) -> float:
        """Warm-up, then constant, then a linear fall to 0 in the last epochs (Hägele et al., NeurIPS 2024).

        Before the fall it does not depend on the number of epochs, so a run can be made longer.
        """
        warm = min(1.0, (step + 1 - self.first_step) / CONSTANTS["warmup_steps"])
        cooldown = self.config.cooldown_epochs * self.steps_per_epoch
        left = self.config.epochs * self.steps_per_epoch - step
        return warm * min(1.0, left / (cooldown + 1))

    def validate(self, domains: list[Domain]) -> dict[str, dict[str, float]]:
        """Domain name → metrics of the averaged weights. DivergenceError if a loss is not finite."""
        metrics = {}
        for domain in domains:
            metrics[domain.name] = validation_metrics(outputs_of(self.ema.module, domain, self.config.workers), domain)
            check_finite(metrics[domain.name]["nll_sum"], f"on {domain.name} after step {self.step}")
        return metrics

    def save_state(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            state = {part: getattr(self, part).state_dict() for part in PARTS}
            torch.save(state | {"step": self.step, "first_step": self.first_step}, file)

    def load_state(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.step, self.first_step = state["step"], state["first_step"]

    def restart(self, averaged: MultiTaskClassifier, epochs: int) -> None:
        """Go on after `epochs` from the averaged weights, where the state is lost: the optimizer begins again."""
        self.model.load_state_dict(averaged.state_dict())
        self.ema.module.load_state_dict(averaged.state_dict())
        self.ema.n_averaged.fill_(epochs * self.steps_per_epoch)
        self.step = self.first_step = epochs * self.steps_per_epoch

    def set_image_size(self, image_size: tuple[int, int]) -> None:
        """Set the size of the training views and of the validation input."""
        for model in (self.model, self.ema.module):
            model.config = ModelConfig.from_dict(model.config.to_dict() | {"image_size": image_size})
        self.training_set.size = image_size[0]

    def _head_parameters(self) -> list[nn.Parameter]:
        return [*self.model.heads.parameters(), *self.model.fashion.parameters()]

    def _average(self, averages: list[torch.Tensor], current: list[torch.Tensor], steps: torch.Tensor | int) -> None:
        """EMA with a shorter window at the start."""
        decay = min(CONSTANTS["ema_decay"], (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(decay)(averages, current, steps)

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Views (B, 3, size, size) uint8 and indices (B,). Their randomness depends on seed and epoch only.

        Of several processes each gets its part of the same batches.
        """
        seed = self.config.seed * 100_003 + epoch
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(seed + SEEDS * process)  # of dropout
        generator = torch.Generator().manual_seed(seed)
        views = self.steps_per_epoch * self.config.batch_size
        rows = torch.tensor(draw_epoch(self.training_set.weights, views, generator))
        keys = torch.stack([rows, torch.randint(SEEDS, rows.shape, generator=generator)], dim=1)
        parts = [batch[process::processes].tolist() for batch in keys.split(self.config.batch_size)]
        batches = [[tuple(key) for key in part] for part in parts]
        small = self.config.small_image_size if max(epoch, 0) < self.config.small_epochs else None
        self.set_image_size(small or self.config.image_size)
        return batches_of(self.training_set, self.config.workers, batch_sampler=batches, generator=generator)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → pooled features (B, C)."""
        if not self.frozen:
            return self.model.features(images)
        backbone, output = self.model.backbone, self.frozen[0](images).contiguous(memory_format=torch.channels_last)
        return self.model.pool(backbone.as_map(backbone.between(self.config.frozen_stages - 1)(output)))

    def _images(self, views: torch.Tensor) -> torch.Tensor:
        return self.normalise(views.to(self.device)).contiguous(memory_format=torch.channels_last)

    def _loss(self, pooled: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Sum over the attributes of the cross-entropies of known labels, and the loss of fashion or not."""
        is_fashion = self.training_set.is_fashion[indices].to(self.device)
        scores = self.model.fashion_scores(nn.functional.dropout(pooled, self.config.dropout))
        loss = CONSTANTS["fashion_loss_weight"] * nn.functional.binary_cross_entropy_with_logits(scores, is_fashion)
        for name, logits in self.model.heads(pooled).items():
            targets = self.training_set.targets[name][indices].to(self.device)
            loss = loss - (targets * logits.float().log_softmax(dim=1)).sum() / len(indices)
        gates = self.model.heads.gates_of(pooled) if self.config.load_balance_weight else {}
        if gates:  # over all attributes together: an expert may serve one attribute only
            shares = torch.cat([gate.float() for gate in gates.values()])
            loss = loss + self.config.load_balance_weight * load_imbalance(shares)
        return loss

    def _step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        """One step by the gradients, averaged over the processes. DivergenceError if the loss is not finite."""
        check_finite(loss.item(), f"in step {self.step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.accelerator.num_processes > 1:
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        optimizer.step()


def check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss is {loss} {where}: a smaller learning_rate is needed")


def validation_metrics(outputs: Outputs, domain: Domain) -> dict[str, float]:
    """`fashion`: share of images recognized as what they are, fashion products or not, at score 0; for each attribute
    the share of accepted predictions; `nll_sum`: the negative log-likelihoods, added up."""
    recognized = (outputs.fashion_scores >= 0) == domain.is_fashion
    metrics = {"fashion": float(recognized.float().mean()), "nll_sum": 0.0}
    for name, logits in outputs.logits.items():
        known = domain.targets[name].sum(dim=1) > 0
        if known.any():
            log_probabilities, targets = logits.log_softmax(dim=1)[known], domain.targets[name][known]
            accepted = targets.gather(1, log_probabilities.argmax(dim=1, keepdim=True)) > 0
            metrics[name] = float(accepted.float().mean())
            metrics["nll_sum"] -= float((targets * log_probabilities).sum(dim=1).mean())
    return metrics


def load_imbalance(shares: torch.Tensor) -> torch.Tensor:
    """Squared coefficient of variation of the experts' mean shares (B, experts) (Shazeer et al., ICLR 2017).

    0 if all experts are used alike, experts - 1 if one has everything.
    """
    use = shares.mean(dim=0)
    return use.var(correction=0) / use.mean() ** 2
