from tests.conftest import TEST_SPLIT
from train.__main__ import main


def test_ways_are_measured_side_by_side(tiny_checkpoint, capsys):
    few = ("--photographs", str(TEST_SPLIT / "images"), "--count", "3", "--rounds", "1", "--parts", "photograph")
    assert main(["benchmark", *few, "--checkpoint", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "| (a) eager forward " in printed
    assert "| (f) 12 megapixels → labels " in printed
