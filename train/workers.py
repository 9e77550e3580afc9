"""Shared memory, through which workers hand over what they read."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # of Linux; a container has 64 MB of it by default
BYTES_A_WORKER = 320 * 2**20  # two batches of 256 images of 224x224 pixels


@cache
def workers_with_room(wanted: int) -> int:
    """So many processes for reading, or as many as can hand over what they read; then there is a note."""
    if not wanted or not SHARED_MEMORY.is_dir():
        return wanted
    free = shutil.disk_usage(SHARED_MEMORY).free
    workers = min(wanted, free // BYTES_A_WORKER)
    if workers == wanted:
        return wanted
    print(
        f"{SHARED_MEMORY} has {free // 2**20} MB, and each worker needs {BYTES_A_WORKER // 2**20}: images are read by "
        f"{workers} workers (for Docker: --shm-size 2g)",
        file=sys.stderr,
    )
    return workers
