"""Keep freed memory in the process: training on the CPU allocates the same large tensors again in every step.

    python -m train.memory

measures both ways side by side, in a minute.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time

import torch

from fashion_model.backbones import backbone_named

# From malloc.h of glibc: https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system, which then has to clear it for the next step.

    One and a half to two times as fast for EfficientNet-Lite0 at 128×96 in batches of 64 on two cores.
    Returns False where the C library is another one and nothing was changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST_INT), (M_TOP_PAD, 256 * 2**20))
    )


def training_speed(batch_size: int = 64, steps: int = 6) -> float:
    """Images a second of forward and backward passes of the compact backbone, after three to warm up."""
    network = backbone_named("efficientnet_lite0").build((128, 96)).to(memory_format=torch.channels_last)
    images = torch.randn(batch_size, 3, 128, 96).to(memory_format=torch.channels_last)
    for step in range(-3, steps):
        if step == 0:
            start = time.perf_counter()
        network(images).mean().backward()
        network.zero_grad(set_to_none=True)
    return steps * batch_size / (time.perf_counter() - start)


def compare(rounds: int = 2) -> None:
    """Print the speed of each way, the better of `rounds` turns, each in a process of its own, and their ratio."""
    keep = "train.memory.keep_freed_memory(); "
    code = "import train.memory; {}print(train.memory.training_speed())"
    best = [0.0, 0.0]
    for _ in range(rounds):
        for i, first in enumerate(("", keep)):
            command = [sys.executable, "-c", code.format(first)]
            best[i] = max(best[i], float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(f"as it is {best[0]:.0f}, keeping freed memory {best[1]:.0f} images a second: {best[1] / best[0]:.2f} times")


if __name__ == "__main__":
    compare()
