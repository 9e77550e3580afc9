"""Divide a network at its stages: the part up to one of them, and the rest. Both share their modules with it."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn


def last_calls(net: nn.Module, stages: Sequence[str], images: torch.Tensor) -> tuple[list[tuple[str, Any]], Any]:
    """The modules that are called last, with their outputs, and the run's output, which is that of the last one.

    Each is given what the one before gives, unchanged, and nothing else. They are those outside of
    `_containers(stages)`. No other thread may use `net` meanwhile.
    """
    calls: list[tuple[str, Any]] = []
    version = 0  # how often the last output had been changed in place

    def is_last(value: object) -> bool:
        return bool(calls) and value is calls[-1][1] and getattr(value, "_version", 0) == version

    def begin(module: nn.Module, given: tuple[Any, ...], others: dict[str, Any]) -> None:
        values = [value for value in (*given, *others.values()) if value is not None]
        if len(values) != 1 or not is_last(values[0]):
            calls.clear()

    def end(name: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal version
        calls.append((name, output))
        version = getattr(output, "_version", 0)

    containers, handles = _containers(stages), []
    for name, module in net.named_modules():
        if name not in containers and name.rpartition(".")[0] in containers:
            handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
            handles.append(module.register_forward_hook(partial(end, name)))
    try:
        output = forward(net, images)
    finally:
        for handle in handles:
            handle.remove()
    return (calls if is_last(output) else []), output


def forward(net: nn.Module, images: torch.Tensor) -> Any:
    """(B, 3, H, W) → the last map or tokens, before pooling."""
    return getattr(net, "forward_features", net)(images)


class Without(nn.Module):
    """The part before `modules`, the last of `last_calls`: `net` with `_PassOn` in their place."""

    def __init__(self, net: nn.Module, modules: Sequence[str]):
        super().__init__()
        changed = _containers(modules)
        shared = [module for name, module in net.named_modules() if name not in changed]
        self.net = copy.deepcopy(net, {id(each): each for each in (*shared, *net.parameters(), *net.buffers())})
        for name in modules:
            parent, _, child = name.rpartition(".")
            setattr(self.net.get_submodule(parent), child, _PassOn())

    def forward(self, images: torch.Tensor) -> Any:
        return forward(self.net, images)


class Chain(nn.Sequential):
    """Images (B, 3, H, W) → the outputs of parts that follow each other."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        outputs = [images]
        for part in self:
            outputs.append(part(outputs[-1]))
        return outputs[1:]


class _PassOn(nn.Module):
    """Returns the only argument that is not None; networks such as BEiT also name arguments that they do not use."""

    def forward(self, *given: Any, **others: Any) -> Any:
        return next(value for value in (*given, *others.values()) if value is not None)


def _containers(modules: Sequence[str]) -> set[str]:
    """The network itself and what else contains one of `modules`."""
    parts = [module.split(".") for module in modules]
    return {".".join(part[:length]) for part in parts for length in range(len(part))}
