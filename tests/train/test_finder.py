"""Training of the finder on scenes of the tests' photographs, and what is measured."""

import shutil

import numpy as np
import pytest
import torch

from fashion_model import FashionClassifier
from fashion_model.checkpoint import load_checkpoint, read_json, save_checkpoint
from fashion_model.models.config import ModelConfig
from fashion_model.models.multitask import MultiTaskClassifier
from tests.train.conftest import run, split_of
from train.__main__ import main
from train.data.domains import load_domains
from train.data.scenes import GROUPS, KINDS, Photograph, Scenes, framed
from train.evaluate.finder import match
from train.finish.finder import NAMES, new_finder


@pytest.fixture(scope="module")
def split(prepared):
    return split_of(prepared, "train")


@pytest.fixture(scope="module")
def scenes(split):
    domains = {domain.name: domain for domain in load_domains(split, NAMES)}
    return Scenes(domains, split.data, split.encoders.labels["product_type"])


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_lie_in_their_scene(scenes, kind, monkeypatch):
    size, boxes = (96, 128), 0
    monkeypatch.setattr("train.data.scenes.KINDS", {kind: 1.0})
    for seed in range(12):
        image, found, groups = scenes[seed, size]
        assert image.shape == (3, 128, 96)
        assert len(found) == len(groups)
        assert ((found[:, :2] >= 0) & (found[:, :2] < found[:, 2:]) & (found[:, 2:] <= 128)).all()
        assert ((groups >= 0) & (groups < len(GROUPS))).all()
        boxes += len(found)
    assert (boxes == 0) is (kind == "nothing")


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_boxes_follow_their_product(scale):
    image = np.full((100, 60, 3), 255, np.uint8)
    image[40:60, 20:40] = 0
    box, centre, random = np.array([[20.0, 40, 40, 60]]), np.array([30, 50]), np.random.default_rng(0)
    view, boxes, _ = framed(image, box, np.zeros(1), centre, scale, (80, 90), random)
    rows, columns = np.nonzero(view.mean(axis=2) < 128)
    drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(boxes[0], drawn, atol=2.5)


def test_average_precision_is_the_area_below_the_curve():
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [21, 20, 31, 30]])
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    found = [(boxes, np.array([0.9, 0.8, 0.6]), np.zeros(3)), (boxes[:1], np.array([0.7]), np.ones(1))]
    photographs = [Photograph("", each, np.zeros(len(each)), np.arange(len(each))) for each in (truth, truth[:0])]
    matches = match(found, photographs, 2)
    assert matches.right.tolist() == [True, False, False, True]  # the second is a second box of the first product
    precision, nothing = matches.average_precision()
    assert precision == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(nothing)
    assert matches.at_precision(0.5) == (0.6, 1.0)
    assert matches.at_precision(1.0) == (0.9, 0.5)


def test_finder_needs_its_photographs(trained, cleaned, prepared, tmp_path, capsys):
    options = ("finder", "--checkpoint", str(trained), "--data")
    assert main([*options, str(cleaned)]) == 2
    assert "has no folder phone" in capsys.readouterr().err
    copied = shutil.copytree(prepared, tmp_path / "data")
    table = copied / "worn" / "worn.csv"
    table.write_text(table.read_text().replace(",validation", ",test"))
    assert main([*options, str(copied)]) == 2
    assert "worn has no photographs to train or to choose a threshold on" in capsys.readouterr().err
    assert not (trained / "finder.safetensors").exists()


def test_trained_finder_belongs_to_the_checkpoint(split, tmp_path):
    classes = split.encoders.num_classes
    config = ModelConfig.for_backbone("test_efficientnet", split.attributes, classes, image_size=(64, 64))
    save_checkpoint(tmp_path, MultiTaskClassifier(config), split.encoders)
    options = ("--checkpoint", str(tmp_path), "--data", str(split.data), "--steps", "2", "--batch-size", "2")
    assert main(["finder", *options]) == 0
    checkpoint = load_checkpoint(tmp_path)
    finder = checkpoint.finder
    before = new_finder(checkpoint).backbone.own.state_dict()
    own = finder.backbone.own.state_dict()  # it began as the backbone's stage
    changed = [key for key, tensor in own.items() if not torch.equal(tensor.half(), before[key].half())]
    assert changed
    assert not [key for key in changed if "running" in key]
    assert list(finder.config.groups) == list(GROUPS)
    assert "Shirts" in finder.config.groups["upper body"]
    assert run("evaluate", tmp_path, split.data, "--split", "validation") == 0
    assert "finder.safetensors" in read_json(tmp_path / "metrics.json")["digests"]
    assert isinstance(FashionClassifier.from_pretrained(tmp_path).find("tests/data/street/photos/0699.jpg"), list)
