"""Keep freed memory in the process: networks on the CPU allocate the same large tensors again in every step.

`python -m train benchmark` measures both ways side by side.
"""

from __future__ import annotations

import ctypes
import sys

# From malloc.h of glibc: https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system, which then has to clear it for the next step.

    Returns False where the C library is another one and nothing was changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST_INT), (M_TOP_PAD, 256 * 2**20))
    )
