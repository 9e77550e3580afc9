import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.splits import TRAIN
from tests.train.conftest import split_of, trainer_for
from train.data.domains import TITLES, Domain
from train.data.table import DataError
from train.data.training_set import EMPTY, Augmentation, TrainingSet, draw_epoch, repeat_factors
from train.fit.config import SHARES
from train.fit.start import training_domains

SIZE = 64
NO_CHANGES = {"paste": 0, "paste_worn": 0, "partial": 0, "turn": 0, "illuminate": 0, "degrade": 0}
COLORS = [(230, 20, 20), (20, 200, 20), (20, 20, 230), (230, 220, 20)]
MAGENTA, ORANGE = (250, 0, 250), (250, 130, 0)


@pytest.fixture(scope="module")
def training_set(prepared):
    return TrainingSet(training_domains(split_of(prepared, TRAIN), list(TITLES)), prepared, SIZE, SHARES)


def indices_of(training_set, name):
    return [index for index, (domain, _) in enumerate(training_set.images) if domain.name == name]


def drawn(training_set, views=10_000):
    generator = torch.Generator().manual_seed(0)
    return [training_set.images[i] for i in draw_epoch(training_set.weights, views, generator)]


def test_epoch_shows_domains_by_their_shares(training_set, prepared):
    shares = Counter(domain.name for domain, _ in drawn(training_set))
    assert shares == {
        name: pytest.approx(10_000 * share / sum(SHARES.values()), abs=2) for name, share in SHARES.items()
    }
    some = TrainingSet(training_set.images[0][0:1], prepared, SIZE, {"thumbnails": 0.2, "worn": 0.8})
    assert {domain.name for domain, _ in drawn(some)} == {"thumbnails"}  # a missing domain's views go to the others


def test_rare_labels_are_shown_more_often():
    targets = {"color": torch.eye(3)[torch.tensor([0] * 90 + [1] * 9 + [2])], "season": torch.zeros(100, 2)}
    factors = repeat_factors(targets, 100, threshold=0.16)
    assert factors[[0, 90, 99]].tolist() == pytest.approx([1, (0.16 / 0.09) ** 0.5, 4])
    rows = draw_epoch(factors, 200, torch.Generator().manual_seed(1))
    expected = (200 * factors / factors.sum())[[99, 95, 5]].tolist()
    assert [rows.count(99), rows.count(95), rows.count(5)] == pytest.approx(expected, abs=1)
    assert rows != sorted(rows)


@pytest.mark.parametrize("name", SHARES)
def test_view_depends_on_the_seed_alone(training_set, name):
    index = indices_of(training_set, name)[0]
    views = [training_set[index, seed][0] for seed in (*range(1, 9), *range(1, 9))]
    assert views[0].shape == (3, SIZE, SIZE)
    assert views[0].dtype == torch.uint8
    assert all(torch.equal(view, again) for view, again in zip(views[:8], views[8:], strict=True))
    assert not any(torch.equal(views[0], view) for view in views[1:8])


@pytest.mark.parametrize("size", [(1, 900), (1, 1), (300, 5)])  # width, height
def test_thin_photograph_has_views(street, tiny_encoders, size):
    """In every domain, dark before white, so that it is cut out, and as the background of itself."""
    pixels = np.full((*size[::-1], 3), 255, np.uint8)
    pixels[size[1] // 4 : 1 + size[1] // 2, size[0] // 4 : 1 + size[0] // 2] = 60
    Image.fromarray(pixels).save(street / "worn" / "photographs" / "1.png")
    Image.fromarray(np.full(size[::-1], 2, np.uint8)).save(street / "worn" / "masks" / "1.png")
    domains = [street_domain(street, tiny_encoders, name) for name in SHARES if name != EMPTY]
    changes = Augmentation(**dict.fromkeys(NO_CHANGES, 0.5))
    training_set = TrainingSet(domains, street, SIZE, SHARES, augmentation=changes)
    for index in range(len(domains) + 1):
        for seed in range(20):
            assert training_set[index, seed][0].shape == (3, SIZE, SIZE)


def test_workers_give_the_same_batches_as_none(prepared, tmp_path):
    batches = [
        list(trainer_for(prepared, tmp_path, workers=workers, epoch_views=64)[0].batches(1)) for workers in (0, 2)
    ]
    assert len(batches[0]) == 4
    for batch, again in zip(*batches, strict=True):
        assert all(map(torch.equal, batch, again))
    _, before = next(trainer_for(prepared, tmp_path)[0].batches(0))
    assert not torch.equal(before, batches[0][0][1])
    assert cv2.getNumThreads() == 1  # OpenCV's threads hang in forked processes


def test_backgrounds_are_those_of_training(training_set, prepared):
    backgrounds, nothing = training_set.backgrounds, training_set.empty_backgrounds
    assert backgrounds.textures.paths == sorted((prepared / "backgrounds" / "train").iterdir())
    assert (backgrounds.photographs.name, backgrounds.everyday.name) == ("phone", "everyday")
    assert len(nothing.photographs) == 0  # they show clothes
    assert training_set.is_fashion.tolist() == [
        d.name not in ("streets", "everyday", EMPTY) for d, _ in training_set.images
    ]


def share_of(view, color):
    return (np.abs(view.astype(int) - color).max(axis=2) < 60).mean()


@pytest.fixture
def street(tmp_path):
    """A folder with a magenta street photograph; its middle is a coat, each of whose quarters has one of COLORS.

    Orange people, whom the mask leaves out, walk by.
    """
    image, mask = np.full((220, 150, 3), MAGENTA, np.uint8), np.zeros((220, 150), np.uint8)
    image[70:180, [*range(20), *range(130, 150)]] = ORANGE
    for (top, left), color in zip([(60, 50), (60, 75), (110, 75), (110, 50)], COLORS, strict=True):
        image[top : top + 50, left : left + 25] = color
    mask[60:160, 50:100] = 2
    for name, pixels in (("photographs/1.png", image), ("masks/1.png", mask)):
        (tmp_path / "worn" / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "worn" / name)
    (tmp_path / "worn" / "tags.json").write_text(json.dumps(["null", "hair", "coat", "scarf"]))
    return tmp_path


def street_domain(folder, encoders, name="worn", tag="coat", accessory=False):
    box = np.array([[50 / 150, 60 / 220, 100 / 150, 160 / 220]])
    paths = [folder / "worn" / "photographs" / "1.png"]
    no_targets = {attribute: torch.zeros(1, classes) for attribute, classes in encoders.num_classes.items()}
    domain = Domain(name, paths, no_targets, boxes=box, tags=np.array([tag]))
    domain.accessories = np.array([accessory])
    return domain


def street_views(folder, encoders, name="worn", count=100, tag="coat", accessory=False, **augmentation):
    domain = street_domain(folder, encoders, name, tag, accessory)
    changes = Augmentation(**NO_CHANGES | augmentation)
    training_set = TrainingSet([domain], folder, SIZE, {name: 1.0}, augmentation=changes)
    return [training_set[0, seed][0].permute(1, 2, 0).numpy() for seed in range(count)]


def test_worn_view_shows_the_box_with_its_margins(street, tiny_encoders):
    shares = []  # of what is not padding
    for view in street_views(street, tiny_encoders):
        quarters = [share_of(view, color) for color in COLORS]
        assert min(quarters) > 0.75 * max(quarters)  # nothing is cut off
        shares.append(sum(quarters) / (1 - (view == 255).all(axis=2).mean()))
    assert 0.14 < min(shares) < 0.4
    assert max(shares) > 0.8


def test_worn_product_is_pasted_by_its_mask(street, tiny_encoders):
    views = street_views(street, tiny_encoders, paste_worn=1.0)
    assert np.mean([share_of(view, MAGENTA) < 0.01 for view in views]) > 0.9  # a plain background may be magenta
    assert np.mean([min(share_of(view, color) for color in COLORS) > 0.002 for view in views]) > 0.5
    for view in street_views(street, tiny_encoders, tag="scarf", count=10, paste_worn=1.0):
        assert share_of(view, MAGENTA) > 0.05  # without a mask the photograph stays


def test_part_of_a_street_shows_no_product(street, tiny_encoders):
    for view in street_views(street, tiny_encoders, name="streets"):
        assert share_of(view, MAGENTA) > 0.3
        assert sum(share_of(view, color) for color in [*COLORS, ORANGE]) < 0.05
    (street / "worn" / "masks" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/1\.png is missing or damaged"):
        street_views(street, tiny_encoders, "streets", 1)
