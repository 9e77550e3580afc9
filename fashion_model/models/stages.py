"""Divide a network at its stages: the part up to one of them, and the rest. Both share their modules with it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Call(NamedTuple):
    module: str  # its name
    given: torch.Tensor | None  # None if it is not the only argument
    given_version: int  # number of changes in place before the call
    output: Any
    output_version: int


def last_calls(net: nn.Module, stages: Sequence[str], images: torch.Tensor) -> tuple[list[Call], Any]:
    """The calls at the end of a run, each of which is given what the one before gives and nothing else; and the output.

    They are those of the modules outside of `_containers(stages)`. No other thread may use `net` meanwhile.
    """
    begun: list[tuple[torch.Tensor | None, int]] = []
    calls: list[Call] = []

    def begin(module: nn.Module, given: tuple[Any, ...], others: dict[str, Any]) -> None:
        values = [value for value in (*given, *others.values()) if value is not None]
        begun.append((values[0] if len(values) == 1 else None, _version(values[0])))

    containers, handles = _containers(stages), []
    for name, module in net.named_modules():
        if name not in containers and name.rpartition(".")[0] in containers:

            def end(module: nn.Module, given: tuple[Any, ...], output: Any, name: str = name) -> None:
                calls.append(Call(name, *begun.pop(), output, _version(output)))

            handles += [module.register_forward_pre_hook(begin, with_kwargs=True), module.register_forward_hook(end)]
    try:
        output = forward(net, images)
    finally:
        for handle in handles:
            handle.remove()
    chain: list[Call] = []
    wanted, version = output, _version(output)
    for call in reversed(calls):
        if call.output is not wanted or call.output_version != version or call.given is None:
            break
        chain.insert(0, call)
        wanted, version = call.given, call.given_version
    return chain, output


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


class Chain(nn.Module):
    """Images (B, 3, H, W) → the outputs of parts that follow each other, each as `as_map` gives it."""

    def __init__(self, parts: Sequence[nn.Module], as_map: Callable[..., Any] | None = None):
        super().__init__()
        self.parts, self.as_map = nn.ModuleList(parts), as_map or nn.Identity()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        outputs = [images]
        for part in self.parts:
            outputs.append(part(outputs[-1]))
        return [self.as_map(output) for output in outputs[1:]]


class _PassOn(nn.Module):
    """Returns the only argument that is not None; networks such as BEiT also name arguments that they do not use."""

    def forward(self, *given: Any, **others: Any) -> Any:
        return next(value for value in (*given, *others.values()) if value is not None)


def _containers(modules: Sequence[str]) -> set[str]:
    """The network itself and what else contains one of `modules`."""
    parts = [module.split(".") for module in modules]
    return {".".join(part[:length]) for part in parts for length in range(len(part))}


def _version(value: object) -> int:
    return value._version if isinstance(value, torch.Tensor) else -1
