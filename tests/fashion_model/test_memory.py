import subprocess
import sys

import pytest

CODE = r"""
import re
from pathlib import Path
from fashion_model.memory import {policy}

def held():
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

assert {policy}()
before = held()
blocks = [bytearray(b"x") * (8 * 2**20) for _ in range(20)]
kept = bytearray(100)
del blocks
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
@pytest.mark.parametrize(
    ("policy", "least", "most"), [("keep_freed_memory", 100, 200), ("give_back_freed_memory", 0, 20)]
)
def test_freed_memory_is_kept_or_given_back(policy, least, most):
    found = subprocess.run(
        [sys.executable, "-c", CODE.format(policy=policy)], capture_output=True, text=True, check=True
    )
    assert least <= int(found.stdout) <= most
