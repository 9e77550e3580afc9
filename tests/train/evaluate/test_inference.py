import pytest
import torch
from torch.utils.data import get_worker_info

from fashion_model.images import open_image
from tests.conftest import TEST_SPLIT
from train.data.table import DataError
from train.evaluate.inference import BATCH_SIZE, pooled_features


class Photographs:
    """The last one may not be readable; `by_workers` says which were read by worker processes."""

    def __init__(self, count, readable=True):
        self.by_workers = []
        self.paths = sorted((TEST_SPLIT / "images").iterdir())[:count]
        self.readable = readable

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if index == len(self) - 1 and not self.readable:
            raise DataError("the last photograph cannot be read")
        self.by_workers.append(get_worker_info() is not None)
        return open_image(self.paths[index])


def test_workers_give_the_same_features_as_none(tiny_model):
    features = pooled_features(tiny_model, Photographs(2 * BATCH_SIZE + 1), workers=0)
    assert len(features) == 2 * BATCH_SIZE + 1
    assert torch.equal(pooled_features(tiny_model, Photographs(2 * BATCH_SIZE + 1), workers=2), features)


def test_single_batch_is_read_without_workers(tiny_model):
    photographs = Photographs(BATCH_SIZE)
    pooled_features(tiny_model, photographs, workers=2)
    assert photographs.by_workers == [False] * BATCH_SIZE


@pytest.mark.parametrize("workers", [0, 2])
def test_error_of_a_worker_is_its_sentence(tiny_model, workers):
    with pytest.raises(DataError, match=r"^the last photograph cannot be read$"):
        pooled_features(tiny_model, Photographs(BATCH_SIZE + 1, readable=False), workers)
