"""Speed and memory: that the command measures, not what."""

import re

import pytest

from tests.conftest import TEST_SPLIT
from train.__main__ import main

PHOTOGRAPHS = str(TEST_SPLIT / "images")


def rows_of(printed):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]


@pytest.mark.slow
def test_every_part_is_measured(tiny_checkpoint, prepared, capsys):
    few = ("--photographs", PHOTOGRAPHS, "--count", "3", "--rounds", "1", "--clients", "1", "--requests", "2")
    parts = ("--parts", "photograph", "agreement", "catalogue", "load", "training")
    paths = ("--checkpoint", str(tiny_checkpoint), "--data", str(prepared))
    assert main(["benchmark", *few, *parts, *paths]) == 0
    printed = capsys.readouterr().out
    names = {row[0] for row in rows_of(printed)}
    assert {"bare network", "photographs → labels", "→ overlays", "library", "page", "steps on views"} <= names
    assert re.search(r"3 photographs: 100.00 % of labels .*\n\n.* probability: 0.00\d+, of a map: 0.0[01]\d+", printed)
    peaks = re.findall(r"^(\d+) photographs: at most ([\d,]+) MiB of memory$", printed, re.MULTILINE)
    assert [int(count) for count, _ in peaks] == [3, 24]
