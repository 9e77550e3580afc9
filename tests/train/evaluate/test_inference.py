import pytest
import torch
from torch.utils.data import get_worker_info

from fashion_model.images import open_image
from tests.conftest import TEST_SPLIT
from train.data.table import DataError
from train.evaluate import inference
from train.evaluate.inference import pooled_features


class Photographs:
    """Photographs, the last of which may not be readable; `by_workers` says which were read by worker processes."""

    def __init__(self, readable=True):
        self.by_workers = []
        self.paths = sorted((TEST_SPLIT / "images").iterdir())[:20]
        self.readable = readable

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if index == len(self) - 1 and not self.readable:
            raise DataError("the last photograph cannot be read")
        self.by_workers.append(get_worker_info() is not None)
        return open_image(self.paths[index])


@pytest.fixture(autouse=True)
def three_batches(monkeypatch):
    monkeypatch.setattr(inference, "BATCH_SIZE", 8)


def test_worker_processes_give_the_same_features_as_none(tiny_model):
    features = pooled_features(tiny_model, Photographs(), workers=0)
    assert len(features) == 20
    assert torch.equal(pooled_features(tiny_model, Photographs(), workers=2), features)


def test_a_single_batch_is_read_without_them(tiny_model, monkeypatch):
    monkeypatch.setattr(inference, "BATCH_SIZE", 20)
    photographs = Photographs()
    pooled_features(tiny_model, photographs, workers=2)
    assert photographs.by_workers == [False] * 20


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_worker_cannot_read_is_its_sentence(tiny_model, workers):
    with pytest.raises(DataError, match=r"^the last photograph cannot be read$"):
        pooled_features(tiny_model, Photographs(readable=False), workers)
