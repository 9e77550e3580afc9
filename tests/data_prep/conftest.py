"""Fixtures and helpers of the tests of data_prep."""

import shutil

import pandas as pd
import pytest

from data_prep import TABLE
from data_prep.__main__ import main
from tests.conftest import PRODUCTS


def prepare(command, output, *options):
    """Run a command, which has to succeed."""
    assert main([command, "--output", str(output), *map(str, options)]) == 0


@pytest.fixture
def refused(capsys):
    """Run a command, which has to fail with one sentence on standard error; returns the sentence."""

    def run(command, output, *options):
        assert main([command, "--output", str(output), *map(str, options)]) == 2
        sentence = capsys.readouterr().err.splitlines()[-1]
        assert sentence.startswith(f"{command}: ")
        return sentence

    return run


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory):
    """The data folder that the command `catalogue` writes for the tests' real rows."""
    folder = tmp_path_factory.mktemp("cleaned")
    prepare("catalogue", folder, "--source", PRODUCTS)
    return folder


@pytest.fixture
def copied(tmp_path):
    """A copy of the raw data, to be changed."""
    return shutil.copytree(PRODUCTS, tmp_path / "raw")


def table_of(folder, name=TABLE):
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)
