import pytest

from data_prep import clean_data
from tests.conftest import PRODUCTS


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory):
    """What `data_prep.clean_data` writes for the tests' real rows."""
    folder = tmp_path_factory.mktemp("cleaned")
    assert clean_data.main(["--source", str(PRODUCTS), "--output", str(folder)]) == 0
    return folder
