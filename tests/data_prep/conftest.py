"""Fixtures and helpers of the tests of data_prep."""

import os
import shutil

import pandas as pd
import pytest
from filelock import FileLock

from data_prep import TABLE
from data_prep.__main__ import main
from tests.conftest import PRODUCTS


def prepare(command, output, *options):
    """Run a command of data_prep, which has to succeed."""
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


def made_once(tmp_path_factory, name, make):
    """The folder that `make` writes to. All worker processes of the run share it, so no test may change it."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / f"shared {name}"
    finished = folder.with_suffix(".finished")
    with FileLock(folder.with_suffix(".lock")):
        if not finished.exists():
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory):
    """The data folder of the tests' real products alone."""
    return made_once(tmp_path_factory, "cleaned", lambda folder: prepare("catalogue", folder, "--source", PRODUCTS))


@pytest.fixture
def copied(tmp_path):
    """A copy of the raw data, to be changed."""
    return shutil.copytree(PRODUCTS, tmp_path / "raw")


def table_of(folder, name=TABLE):
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)
