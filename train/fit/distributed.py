"""Several processes that `torchrun` started, which train one network: who this one is, and what they exchange."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fashion_model.models.multitask import MultiTaskClassifier
from train.data.domains import Domain
from train.evaluate.inference import Outputs


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the others if `torchrun` started this process; on GPUs each process has one of its own."""
    if not dist.is_torchelastic_launched():
        yield
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def added_up(values: list[float], device: torch.device) -> list[float]:
    """Each of `values` added up over the processes."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    if count() > 1:
        dist.all_reduce(total)
    return total.tolist()


class _Features(nn.Module):
    """Has all parameters of the model, so that the gradients of the heads are averaged as well."""

    def __init__(self, model: MultiTaskClassifier):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.features(images)


def features_of(model: MultiTaskClassifier) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model.features`; in the backward pass that follows, gradients are averaged over the processes."""
    return model.features if count() == 1 else DistributedDataParallel(_Features(model))


def average_gradients(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters if count() > 1 else ():
        dist.all_reduce(parameter.grad)
        parameter.grad /= count()


def outputs_of_all(outputs_of: Callable[[Domain], Outputs], domain: Domain) -> Outputs:
    """The outputs for `domain`, of which each process computes its own part, each image once."""
    if count() == 1 or len(domain) < count():
        return outputs_of(domain)
    places = [torch.arange(first, len(domain), count()) for first in range(count())]
    parts: list[Outputs] = [None] * count()  # type: ignore[list-item]
    dist.all_gather_object(parts, outputs_of(domain.subset(places[rank()].numpy())))
    order = torch.cat(places).argsort()

    def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(tensors)[order]

    return Outputs(
        {name: joined([part.logits[name] for part in parts]) for name in parts[0].logits},
        joined([part.fashion_scores for part in parts]),
        {name: joined([part.gates[name] for part in parts]) for name in parts[0].gates},
    )
