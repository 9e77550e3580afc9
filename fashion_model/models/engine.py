"""What makes a network fast where it is served: folded batch norms, and ONNX Runtime in place of PyTorch."""

from __future__ import annotations

import copy
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

PACKAGES = ("onnx", "onnxruntime")
THREADS = torch.get_num_threads()  # what OMP_NUM_THREADS says, or one a core
TOLERANCE = 1e-3  # of the largest output
Network = TypeVar("Network", bound=nn.Module)
Compute = Callable[[torch.Tensor], Any]


@contextmanager
def isolated(device: str = "cpu") -> Iterator[None]:
    """What is computed within does not depend on the caller's modes: inference, gradients, autocast, default device."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False), torch.device("cpu"):
        yield


@contextmanager
def building() -> Iterator[None]:
    """As `isolated`, for a network that is built: of float32 by default, and the caller's random state stays.

    The default type is that of all threads.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with isolated(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_default_dtype(before)


def fold_batch_norms(network: Network, example: torch.Tensor) -> Network:
    """A copy of `network` with batch norms folded, or `network` itself if that changes its output.

    A convolution and a batch norm are folded where one is registered right after the other in the same module. Few
    networks register them in another order than they call them; for these the outputs for `example` (B, 3, H, W)
    differ and nothing is folded. The network has to be in evaluation mode; a folded one cannot be trained.
    """
    folded = copy.deepcopy(network)
    for module in folded.modules():
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if not (isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if convolution.out_channels == norm.num_features:
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                # timm's BatchNormAct2d has the activation in it.
                setattr(module, norm_name, getattr(norm, "act", None) or nn.Identity())
    return folded if same_outputs(network, folded, example) else network


@torch.no_grad()
def same_outputs(network: Compute, faster: Compute, example: torch.Tensor) -> bool:
    expected, outputs = (
        torch.cat([output.flatten() for output in ([found] if isinstance(found, torch.Tensor) else found)])
        for found in (network(example), faster(example))
    )
    return bool((outputs - expected).abs().max() <= TOLERANCE * expected.abs().max())


def onnx_engine(network: nn.Module, example: torch.Tensor, any_size: bool = False) -> Compute | None:
    """What `network` computes for images (B, 3, H, W) in float32, a tensor or a list of them, without gradients.

    None if the packages are not installed or, with a line on standard error, cannot be used: they fail, the network
    cannot be exported, or its outputs for `example` differ. An engine that fails later leaves its work to PyTorch, and
    so does one in a forked process. It is for images of the size of `example`, or, with `any_size`, of others too.
    """
    try:
        if not all(map(importlib.util.find_spec, PACKAGES)):
            return None
        session = _onnx_session(network, example[:1], any_size)
        if not same_outputs(network, session, example):
            raise ValueError("its outputs differ")
    except Exception as error:  # of other packages, which may be damaged in any way; the user reads the reason
        _say_that_pytorch_takes_its_place(error)
        return None
    compute: Compute = session
    process = os.getpid()

    def run(images: torch.Tensor) -> Any:
        nonlocal compute
        if compute is session and os.getpid() != process:  # where its threads are not; to delete it would wait for them
            compute = network
        chosen = compute  # another thread may change it
        try:
            return chosen(images)
        except Exception as error:
            if chosen is network:
                raise
            _say_that_pytorch_takes_its_place(error)
            compute = network
            return network(images)

    return run


class WithoutGradients(nn.Module):
    """A network in evaluation mode: on a CPU computed by an engine for each size of images (B, 3, H, W)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.eval()
        self.engines: dict[torch.Size, Compute] = {}

    def train(self, mode: bool = True) -> WithoutGradients:
        """It stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> Any:
        size = images.shape[2:]
        if size not in self.engines:
            tried = self.network in self.engines.values()  # for another size, and it failed
            engine = onnx_engine(self.network, images[:2]) if images.device.type == "cpu" and not tried else None
            self.engines[size] = engine or self.network
        return self.engines[size](images)


def _say_that_pytorch_takes_its_place(reason: Exception) -> None:
    first = next(iter(str(reason).splitlines()), "") or type(reason).__name__
    print(f"ONNX Runtime is not used, PyTorch takes its place: {first}", file=sys.stderr, flush=True)


def _onnx_session(network: nn.Module, image: torch.Tensor, any_size: bool) -> Compute:
    """For any number of images. PyTorch's errors for what ONNX lacks."""
    import onnxruntime

    with torch.no_grad():
        outputs = network(image)
    single = isinstance(outputs, torch.Tensor)
    ranks = {f"output{i}": each.ndim for i, each in enumerate([outputs] if single else outputs)}
    axes = {"images": {0: "batch", 2: "height", 3: "width"} if any_size else {0: "batch"}}
    for name, rank in ranks.items():
        axes[name] = {0: "batch"} | {axis: f"{name}_{axis}" for axis in range(1, rank) if any_size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's newer exporter takes 30 times as long, too long for every start
        model: Any = io.BytesIO()
        names: dict[str, Any] = {"input_names": ["images"], "output_names": list(ranks), "dynamic_axes": axes}
        torch.onnx.export(network.eval(), (image,), model, **names, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # photographs are decoded meanwhile
    session = onnxruntime.InferenceSession(model.getvalue(), options, providers=["CPUExecutionProvider"])

    def compute(images: torch.Tensor) -> Any:
        # Copied by NumPy: PyTorch's threads would go on spinning for a while, and the engine needs the cores.
        array = np.ascontiguousarray(images.detach().numpy())
        results = [torch.from_numpy(result) for result in session.run(None, {"images": array})]
        return results[0] if single else results

    return compute
