import subprocess
import sys

import pytest

from train import workers
from train.workers import workers_with_room


def test_no_room_means_no_workers_and_a_note(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    workers_with_room.cache_clear()
    monkeypatch.setattr(workers, "BYTES_A_WORKER", 2**60)
    assert workers_with_room(2) == 0
    assert "--shm-size" in capsys.readouterr().err
    assert workers_with_room(0) == 0
    monkeypatch.setattr(workers, "BYTES_A_WORKER", 1)
    workers_with_room.cache_clear()
    assert workers_with_room(2) == 2
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "none")
    assert workers_with_room(2) == 2
    assert not capsys.readouterr().err
    workers_with_room.cache_clear()


FREED = r"""
import re
from pathlib import Path
from train.workers import keep_freed_memory

def held():
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

keep_freed_memory()
before = held()
blocks = [bytearray(b"x") * (8 * 2**20) for _ in range(20)]
kept = bytearray(100)
del blocks
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_kept():
    found = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert 100 <= int(found.stdout) <= 200
