"""Speed and memory: that the command measures, not what."""

import re
import sys

import numpy as np
import pytest

from tests.conftest import TEST_SPLIT
from train.__main__ import main
from train.studies.benchmark import training
from train.studies.benchmark.timing import alternate, speeds, table

PHOTOGRAPHS = str(TEST_SPLIT / "images")
FEW = ("--photographs", PHOTOGRAPHS, "--count", "3", "--rounds", "1")


def test_the_ways_strictly_alternate_and_one_round_warms_up():
    turns = []
    times = alternate({name: lambda name=name: turns.append(name) for name in ("first", "second")}, rounds=2)
    assert turns == ["first", "second"] * 3
    assert [len(values) for values in times.values()] == [2, 2]


def test_the_tables_have_medians_and_ratios_of_the_same_round():
    times = {"one": np.array([0.1, 0.2, 0.3]), "two": np.array([0.2, 0.4, 0.6])}
    assert "| two | 400.0 (240.0–560.0) | 2.00 (2.00–2.00) |" in table(times, "one")
    assert "| two | 10.0 (7.3–18.0) | 0.50 (0.50–0.50) |" in speeds(times, 4)


def run(capsys, *options):
    assert main(["benchmark", *FEW, *options]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_photograph_is_measured_beside_the_eager_network_and_engines(tiny_checkpoint, capsys):
    printed = run(capsys, "--checkpoint", str(tiny_checkpoint), "--parts", "photograph", "agreement", "--no-larger")
    rows = re.findall(r"^\| (\([a-h]\) [^|]+) \| ([\d.]+) \([\d.]+–[\d.]+\) \| ([\d.]+) ", printed, re.MULTILINE)
    letters = [name[:3] for name, *_ in rows]
    assert letters == sorted(letters)
    assert set(letters) == {"(a)", "(b)", "(c)", "(e)", "(g)", "(h)"}
    assert all(float(milliseconds) > 0 for _, milliseconds, _ in rows)
    for ratio in ("(b) without decoding / (a)", "(e) / (c)", "(b) without decoding / the best of (g)"):
        assert re.search(rf"^{re.escape(ratio)}: -?[\d.]+ ", printed, re.MULTILINE)
    same, probability, of_map = re.search(
        r"3 photographs: ([\d.]+) % of labels .* a probability ([\d.]+), of a map \(3 photographs\) ([\d.]+)", printed
    ).groups()
    assert float(same) == 100
    assert float(probability) < 0.01
    assert float(of_map) < 0.02


@pytest.mark.slow
def test_a_folder_and_its_memory_are_measured(trained, tiny_checkpoint, capsys):
    printed = run(capsys, "--checkpoint", str(tiny_checkpoint), "--against", str(trained), "--parts", "catalogue")
    assert re.search(rf"^\| … of {re.escape(str(trained))} \| [\d.]+ ", printed, re.MULTILINE)
    assert re.search(r"^\| photographs → rows and overlays \| [\d.]+ ", printed, re.MULTILINE)
    if sys.platform == "linux":
        counts = re.findall(r"^(\d+) photographs: at most ([\d,]+) MiB of memory$", printed, re.MULTILINE)
        assert [int(count) for count, _ in counts] == [3, 24]
        assert all(100 < int(peak.replace(",", "")) < 10_000 for _, peak in counts)


@pytest.mark.slow
def test_clients_are_measured_beside_the_bare_network(tiny_checkpoint, capsys):
    options = ("--checkpoint", str(tiny_checkpoint), "--clients", "1", "2", "--requests", "4")
    printed = run(capsys, *options, "--parts", "load")
    rows = re.findall(r"^\| (library|page) \| (\d+) \| ([\d.]+) \| (\d+) \| (\d+) \| [\d.]+ \|$", printed, re.MULTILINE)
    assert [row[:2] for row in rows] == [(through, n) for n in "12" for through in ("library", "page")]
    for _, clients, speed, p50, p95 in ([row[0], *map(float, row[1:])] for row in rows):
        assert 0 < p50 <= p95
        assert speed * p50 / 1000 < 2 * clients  # by Little's law about the number of clients
    assert re.search(r"holds [\d,]+ MiB, after 4 more requests [\d,]+ MiB", printed)


@pytest.mark.slow
def test_the_input_pipeline_is_measured_beside_the_step_alone(prepared):
    line = training.input_pipeline("test_efficientnet", str(prepared), rounds=1)
    assert re.search(r"images a second: [\d.]+ .*; times the step on a random tensor: [\d.]+ ", line)
    assert training.training_speed(keep=False, rounds=1) > 0


@pytest.mark.parametrize("option", ["--count", "--rounds", "--clients"])
def test_nothing_cannot_be_measured(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--photographs", PHOTOGRAPHS, option, "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_a_folder_without_photographs_is_a_sentence_and_an_exit_status(tmp_path, capsys):
    assert main(["benchmark", "--photographs", str(tmp_path)]) == 2
    assert "no image in" in capsys.readouterr().err
    assert main(["benchmark", "--photographs", str(tmp_path / "nowhere")]) == 2
    assert "benchmark: " in capsys.readouterr().err
