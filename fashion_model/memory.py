"""How the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h of glibc: https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system, which then has to clear it for the next step.

    Networks on the CPU allocate the same large tensors in every step; `python -m train benchmark` measures both ways.
    Returns False where the C library is another one and nothing was changed.
    """
    return _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST_INT, M_TOP_PAD: 256 * 2**20})


def give_back_freed_memory() -> bool:
    """Tell glibc to hand large blocks back at once and to share what it keeps: a server has many threads.

    Returns False as `keep_freed_memory`.
    """
    return _set({M_MMAP_THRESHOLD: 4 * 2**20, M_ARENA_MAX: 2})


def _set(options: dict[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in options.items())
