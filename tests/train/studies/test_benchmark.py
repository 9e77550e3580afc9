"""Speed and memory: that the command measures, not what."""

import platform
import re
import sys

import pytest

from fashion_model.classifier import BATCH_SIZE
from tests.conftest import TEST_SPLIT
from train.__main__ import main
from train.studies.benchmark import fastest


def test_the_ways_take_turns_and_the_best_turn_counts():
    turns = []

    def way(name, speeds):
        remaining = iter(speeds)
        return lambda: turns.append(name) or next(remaining)

    assert fastest([way("first", [1, 3, 2]), way("second", [6, 4, 5])], rounds=3) == [3, 6]
    assert turns == ["first", "second"] * 3


def test_the_command_prints_both_ways_and_their_ratio(trained, tiny_checkpoint, capsys):
    more = ["--checkpoint", str(tiny_checkpoint), "--against", str(trained), "--count", "2", "--rounds", "1"]
    assert main(["benchmark", "--photographs", str(TEST_SPLIT / "images"), *more]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", printed, re.MULTILINE)
    assert [row[:2] for row in rows] == [
        ("answers one by one", f"in batches of {BATCH_SIZE}"),
        (f"answers of {trained} one by one", "of this one"),
        ("four overlays one by one", "together"),
        ("training, memory freed", "kept"),
    ][: 4 if platform.libc_ver()[0] == "glibc" else 3]  # the last one only where the C library can be told
    for first, second, ratio in ([float(cell) for cell in row[2:]] for row in rows):  # rounded
        assert (second - 0.05) / (first + 0.05) - 0.005 <= ratio <= (second + 0.05) / (first - 0.05) + 0.005
    if sys.platform == "linux":
        counts = re.findall(r"^(\d+) photographs: at most ([\d,]+) MiB of memory$", printed, re.MULTILINE)
        assert [int(count) for count, _ in counts] == [2, 16]
        assert all(100 < int(peak.replace(",", "")) < 10_000 for _, peak in counts)


@pytest.mark.parametrize("option", ["--count", "--rounds"])
def test_nothing_cannot_be_measured(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--photographs", str(TEST_SPLIT / "images"), option, "0"])
    assert "count and rounds must be at least 1" in capsys.readouterr().err


def test_a_folder_without_photographs_is_a_sentence_and_an_exit_status(tmp_path, capsys):
    assert main(["benchmark", "--photographs", str(tmp_path)]) == 2
    assert "no image in" in capsys.readouterr().err
    assert main(["benchmark", "--photographs", str(tmp_path / "nowhere")]) == 2
    assert "benchmark: " in capsys.readouterr().err
