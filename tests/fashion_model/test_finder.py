"""Finding products, with a finder of random weights."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fashion_model.explain import backdrop
from fashion_model.models.backbones import Backbone
from fashion_model.models.config import FinderConfig, ModelConfig
from fashion_model.models.engine import onnx_engine
from fashion_model.models.finder import MAX_PRODUCTS, Finder, distinct
from tests.conftest import GROUPS, SEVERAL, checkpoint_with_finder, random_model

PHOTOGRAPH = "tests/data/street/photos/0699.jpg"


def test_finder_is_saved_and_loaded(tmp_path):
    saved = checkpoint_with_finder(tmp_path, threshold=0.25)
    loaded = load_checkpoint(tmp_path)
    assert loaded.finder.config == saved.config == loaded.config.finder
    for key, tensor in loaded.finder.state_dict().items():
        written = saved.state_dict()[key]
        assert torch.equal(tensor, written.half().float() if written.is_floating_point() else written), key
    finder = tmp_path / "finder.safetensors"
    finder.write_bytes(b"0")
    with pytest.raises(CheckpointError, match=r"finder\.safetensors is damaged"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, loaded.model, loaded.encoders)  # other weights may follow, which it does not fit
    assert load_checkpoint(tmp_path).finder is None
    assert not finder.exists()


@pytest.mark.parametrize("changed", [{"threshold": 2}, {"side": 1.5}, {"channels": 33}, {"groups": {}}, {"more": 1}])
def test_invalid_finder_settings_are_refused(changed):
    document = random_model().config.to_dict() | {"finder": dataclasses.asdict(FinderConfig(GROUPS))}
    assert ModelConfig.from_dict(document).finder == FinderConfig(GROUPS)
    document["finder"] |= changed
    with pytest.raises(ValueError, match=r"finder|groups|channels"):
        ModelConfig.from_dict(document)


def test_products_lie_on_the_photograph(classifier):
    width, height = Image.open(SEVERAL).size
    products = classifier.find(SEVERAL)
    assert 3 < len(products) <= MAX_PRODUCTS
    for product in products:
        left, top, right, bottom = product.box
        assert 0 <= left < left + 12 <= right <= width
        assert 0 <= top < top + 12 <= bottom <= height
        assert product.prediction.product_type.label in classifier.finder.config.groups[product.group]
    scores = [product.score for product in products]
    assert scores == sorted(scores, reverse=True)
    document = products[0].to_document()
    assert list(document)[:4] == ["box", "group", "score", "color"]


def test_part_of_a_product_is_not_another_one():
    """The second box is a part of the first, the third nearly the same; the fourth is of another group."""
    boxes = torch.tensor([[0, 0, 10, 10], [7, 0, 17, 10], [0, 0, 10, 9], [1, 1, 5, 5], [9, 0, 19, 10]]).float()
    assert distinct(boxes, torch.tensor([1, 1, 2, 2, 1])) == [0, 3, 4]


def test_best_box_below_the_threshold_is_the_only_product(tmp_path):
    checkpoint_with_finder(tmp_path, threshold=0.0)
    best = FashionClassifier.from_pretrained(tmp_path).find(PHOTOGRAPH)[0]
    checkpoint_with_finder(tmp_path, threshold=1.5 * best.score)
    classifier = FashionClassifier.from_pretrained(tmp_path)
    (product,) = classifier.find(PHOTOGRAPH)
    assert (product.box, product.group) == (best.box, best.group)
    whole = classifier.predict([PHOTOGRAPH])[0]  # what is alone is predicted from all of the photograph
    np.testing.assert_allclose(product.prediction.color.probabilities, whole.color.probabilities, atol=0.02)


def test_photograph_without_boxes_is_one_product(tmp_path):
    checkpoint_with_finder(tmp_path, threshold=1.0)
    classifier = FashionClassifier.from_pretrained(tmp_path)
    (product,) = classifier.find(PHOTOGRAPH)
    assert (product.group, product.box) == ("other", (0, 0, *Image.open(PHOTOGRAPH).size))
    whole = classifier.predict([PHOTOGRAPH])[0]
    np.testing.assert_allclose(product.prediction.color.probabilities, whole.color.probabilities, atol=0.02)
    classifier.config = dataclasses.replace(classifier.config, fashion_threshold=1e6)
    assert classifier.find(PHOTOGRAPH) == []


def test_checkpoint_without_finder_says_so(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="has no finder"):
        FashionClassifier.from_pretrained(tiny_checkpoint).find(PHOTOGRAPH)


def test_backbone_for_one_size_carries_no_finder():
    with pytest.raises(ValueError, match="a finder needs a backbone that takes images of any size"):
        Finder(Backbone("deit_tiny_patch16_224", (224, 224)), FinderConfig(GROUPS))


@torch.no_grad()
def test_engine_finds_in_every_size(classifier):
    points = classifier.finder.points
    run = onnx_engine(points, torch.rand(1, 3, 128, 96), any_size=True)
    for size in ((96, 192), (192, 32)):
        images = torch.rand(1, 3, *size)
        torch.testing.assert_close(run(images), points(images), atol=1e-3, rtol=1e-3)


def test_overlay_of_a_box_colors_nothing_else(classifier):
    photograph = Image.open(PHOTOGRAPH).convert("RGB")
    colored = np.asarray(classifier.explain(photograph, "color", box=(40, 80, 80, 140)), np.int16)
    plain = np.asarray(backdrop(photograph).convert("RGB"), np.int16)
    changed = np.abs(colored - plain).max(axis=2) > 1
    assert changed[68:152, 32:88].any()  # the box and a fifth of its sides
    changed[68:152, 32:88] = False
    assert not changed.any()


@pytest.mark.parametrize("box", [(0, 0, 5, 50), (-1, 0, 50, 50), (0, 0, 50, 9999), (0, 0, 50), (0, 0, 50.0, 50)])
def test_bad_boxes_are_one_sentence(classifier, box):
    with pytest.raises(ValueError, match="a box is left, top, right and bottom in pixels of the photograph"):
        classifier.explain(PHOTOGRAPH, "color", box=box)
