"""Fixtures and helpers of the tests of data_prep."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from data_prep import TABLE, clean_data

DATA = Path(__file__).parents[1] / "data"
PRODUCTS, PHONE, EVERYDAY, BACKGROUNDS = (DATA / name for name in ("products", "phone", "everyday", "backgrounds"))


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory):
    """The data folder that `data_prep.clean_data` writes for the tests' real rows."""
    folder = tmp_path_factory.mktemp("cleaned")
    assert clean_data.main(["--source", str(PRODUCTS), "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(tmp_path):
    """A copy of the raw data, to be changed."""
    return shutil.copytree(PRODUCTS, tmp_path / "raw")


def table_of(folder):
    return pd.read_csv(folder / TABLE, keep_default_na=False)


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def first_usable(folder, rows):
    """The first of the lines of styles.csv whose product has an image."""
    return next(row for row in rows if (folder / "images" / f"{row.split(',')[0]}.jpg").is_file())


def contents(folder):
    """Relative path → bytes of all files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
