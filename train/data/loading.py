"""Read images in other processes, and keep the memory that a training frees."""

import ctypes
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from train.data.table import DataError

SHARED_MEMORY = Path("/dev/shm")  # of Linux; workers hand over through it, and a container has 64 MB by default
BYTES_A_WORKER = 320 * 2**20  # two batches of 256 images of 224x224 pixels


def batches_of(dataset: Dataset | Sequence[Any], workers: int, **options: Any) -> Iterator[Any]:
    """The batches of a DataLoader with these options. DataError if an image cannot be read."""
    try:
        yield from DataLoader(dataset, num_workers=workers_with_room(workers), **options)
    except DataError as error:  # from a worker process the message is a traceback, which ends with it
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from error


@cache
def workers_with_room(wanted: int) -> int:
    """The number of processes that read images: as many as wanted, or, with a note, as can hand over what they read."""
    if not wanted or not SHARED_MEMORY.is_dir():
        return wanted
    free = shutil.disk_usage(SHARED_MEMORY).free
    workers = min(wanted, free // BYTES_A_WORKER)
    if workers < wanted:
        print(
            f"{SHARED_MEMORY} has {free // 2**20} MB, and each worker needs {BYTES_A_WORKER // 2**20}: images are read "
            f"by {workers} workers (for Docker: --shm-size 2g)",
            file=sys.stderr,
        )
    return workers


def keep_freed_memory() -> None:
    """Tell glibc not to hand freed memory back to the system, which would have to clear it for the next step.

    Training on a CPU allocates the same large tensors in every step: 68 instead of 53 views a second at 160 pixels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        # M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD: https://man7.org/linux/man-pages/man3/mallopt.3.html
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 * 2**20)):
            mallopt(option, value)
