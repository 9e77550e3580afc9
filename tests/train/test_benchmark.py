"""Speed and memory: that the command measures, not what."""

import re

import numpy as np
import pytest

from tests.conftest import TEST_SPLIT
from train.__main__ import main
from train.studies.benchmark import alternate, table

PHOTOGRAPHS = str(TEST_SPLIT / "images")


def rows_of(printed):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]


def test_ways_alternate_and_are_compared_in_rounds():
    turns = []
    times = alternate({name: lambda name=name: turns.append(name) for name in ("first", "second")}, rounds=2)
    assert turns == ["first", "second"] * 3  # the first round warms up
    assert [len(values) for values in times.values()] == [2, 2]
    times = {"one": np.array([0.1, 0.2, 0.3]), "two": np.array([0.2, 0.4, 0.6])}
    assert rows_of(table(times, 4))[-1] == ["two", "100.0 (60.0–140.0)", "10.0 (7.3–18.0)", "2.00 (2.00–2.00)"]


@pytest.fixture
def measure(tiny_checkpoint, capsys):
    """A function that runs the command with some options, and returns what it prints."""

    def measure(*options):
        few = ("--photographs", PHOTOGRAPHS, "--count", "3", "--rounds", "1", "--checkpoint", str(tiny_checkpoint))
        assert main(["benchmark", *few, *options]) == 0
        return capsys.readouterr().out

    return measure


@pytest.mark.slow
def test_photographs_and_their_memory_are_measured(measure):
    printed = measure("--parts", "photograph", "agreement", "catalogue")
    names = [row[0] for row in rows_of(printed)]
    assert [name[1] for name in names if name.startswith("(")] == list("abcdefffg")
    assert names[-5:-3] == ["bare network", "photographs → labels"]
    assert names[-1] == "→ overlays"
    assert re.search(r"3 photographs: 100.00 % of labels .*\n\n.* probability: 0.00\d+, of a map: 0.0[01]\d+", printed)
    peaks = re.findall(r"^(\d+) photographs: at most ([\d,]+) MiB of memory$", printed, re.MULTILINE)
    assert [int(count) for count, _ in peaks] == [3, 24]
    assert all(100 < int(peak.replace(",", "")) < 10_000 for _, peak in peaks)


@pytest.mark.slow
def test_clients_are_measured_beside_bare_network(measure):
    printed = measure("--clients", "1", "2", "--requests", "4", "--parts", "load")
    rows = [row for row in rows_of(printed) if row[0] in ("library", "page")]
    assert [row[:2] for row in rows] == [[through, clients] for clients in "12" for through in ("library", "page")]
    for clients, speed, p50, p95 in (map(float, row[1:5]) for row in rows):
        assert 0 < p50 <= p95
        assert speed * p50 / 1000 < 2 * clients  # by Little's law about the number of clients
    assert re.search(r"holds [\d,]+ MiB, after 4 more requests [\d,]+ MiB", printed)


@pytest.mark.slow
def test_training_is_measured_on_prepared_views(measure, prepared):
    printed = measure("--parts", "training", "--data", str(prepared))
    names = ["steps on a random tensor", "batches prepared meanwhile", "steps on views"]
    assert [row[0] for row in rows_of(printed) if row[0] in names] == 2 * names


def test_nothing_cannot_be_measured(tmp_path, capsys):
    for option in ("--count", "--rounds", "--clients"):
        with pytest.raises(SystemExit, match="2"):
            main(["benchmark", "--photographs", PHOTOGRAPHS, option, "0"])
        assert "must be at least 1" in capsys.readouterr().err
    assert main(["benchmark", "--photographs", str(tmp_path)]) == 2
    assert "no image in" in capsys.readouterr().err
