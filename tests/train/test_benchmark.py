"""Speed and memory: that the command measures, not what."""

import re

from tests.conftest import TEST_SPLIT
from train.__main__ import main

PHOTOGRAPHS = str(TEST_SPLIT / "images")


def test_ways_are_measured_side_by_side(tiny_checkpoint, capsys):
    few = ("--photographs", PHOTOGRAPHS, "--count", "3", "--rounds", "1", "--parts", "photograph", "agreement")
    assert main(["benchmark", *few, "--checkpoint", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "| (a) eager forward " in printed
    assert "| (g) 12 megapixels → labels " in printed
    assert re.search(r"3 photographs: 100.00 % of labels .*\n\n.* probability: 0.00\d+, of a map: 0.0[01]\d+", printed)
