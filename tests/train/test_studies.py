"""The studies: that speed is measured, the outcome of families, and measures of maps on street photographs."""

import re

import numpy as np
import pytest

from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.explain import LAYERS, METHOD, METHODS, SCORE, SCORES
from tests.conftest import TEST_SPLIT
from train.__main__ import main
from train.studies.saliency import MEASURES, crops_of


def test_right_map_measures_better_than_wrong(prepared):
    crop = max(crops_of(DEFAULT_CHECKPOINT, prepared), key=lambda crop: crop.mask.mean())
    right, wrong = (np.stack([heat, heat]).astype(np.float32) for heat in (crop.mask, ~crop.mask))
    for name in ("deletion", "insertion", "ROAD", "energy", "peak"):
        direction, measure = MEASURES[name]
        assert direction * measure(crop, right) > direction * measure(crop, wrong), name
    assert MEASURES["energy"][1](crop, right) == pytest.approx(1)


@pytest.mark.slow
def test_command_prints_candidates_and_floors(prepared, capsys):
    command = ["saliency", "--checkpoint", str(DEFAULT_CHECKPOINT), "--data", str(prepared), "--crops", "2"]
    assert main([*command, "--stages", "-1", "--measures", "energy", "peak", "runner-up"]) == 0
    rows = re.findall(r"^\| (\S[^|]+?) +\|(.*)\|$", capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == len(METHODS) * len(SCORES) + 3  # the default, whose stages are others, and the floors
    assert rows[0][0] == f"{METHOD}, {SCORE}, stages {LAYERS}"
    assert all(len(re.findall(r"-?\d\.\d\d \(-?\d\.\d\d to -?\d\.\d\d\)", cells)) == 3 for _, cells in rows)


def test_ways_are_measured_side_by_side(tiny_checkpoint, capsys):
    few = ("--photographs", str(TEST_SPLIT / "images"), "--count", "3", "--rounds", "1", "--parts", "photograph")
    assert main(["benchmark", *few, "--checkpoint", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "| (a) eager forward " in printed
    assert "| (e) decoding 12 megapixels" in printed


def test_each_family_has_its_outcome(capsys):
    assert main(["backbones", "--families", "resnet", "coat", "deepseek_vit", "levit"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in capsys.readouterr().out.splitlines()]
    outcomes = {row[0]: row[1:] for row in rows if len(row) == 4}
    assert outcomes["resnet"] == ["test_resnet", "works", "5"]
    assert outcomes["coat"][1] == "refused"
    assert outcomes["coat"][2].startswith("backbone 'coat_lite_mini' cannot be used: ")
    assert outcomes["deepseek_vit"][1:] == ["not tried", "411 million parameters"]
    assert outcomes["levit"][1] == "works"
