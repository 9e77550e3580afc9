"""Faithfulness of the class activation maps."""

import re
import shutil
from itertools import islice

import numpy as np
import pytest
import torch

from fashion_model.checkpoint import DEFAULT_CHECKPOINT, load_checkpoint
from fashion_model.explain.cam import LAYERS, METHOD, resolve_layers
from fashion_model.images import open_image
from tests.conftest import NAMES, TEST_SPLIT
from tests.train.conftest import vision_transformer
from train.__main__ import main
from train.studies.candidate_maps import REFERENCE, CandidateMaps
from train.studies.faithfulness import FromPixels, changed, measure, ranks
from train.studies.saliency import Measured, Questions


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(DEFAULT_CHECKPOINT).model.requires_grad_(False)


def test_the_hottest_pixels_change_first_and_all_in_the_end():
    photograph, other = torch.zeros(3, 4, 5), torch.ones(3, 4, 5)
    heat = np.random.default_rng(0).random((4, 5))
    found = changed(photograph, other, ranks(heat))
    assert found.shape == (11, 3, 4, 5)
    assert torch.equal(found[0], photograph)
    assert torch.equal(found[-1], other)
    for step, image in enumerate(found):
        turned = image[0].numpy() == 1
        assert turned.sum() == 2 * step
        assert not turned.any() or turned.all() or heat[turned].min() > heat[~turned].max()


def test_pixels_of_the_same_heat_vanish_all_over_the_picture():
    heat = np.zeros((20, 30))
    heat[:10, :15] = 1
    places = ranks(heat)
    assert sorted(places.ravel()) == list(range(600))
    assert places[:10, :15].min() == 450
    half = np.argwhere((places < 225) & (heat == 0))
    assert half[:, 0].min() < 3
    assert half[:, 0].max() > 16


def test_a_map_that_is_right_measures_better_than_one_that_is_wrong(measured):
    """On real products before white: heat on it against heat everywhere else."""
    questions = Questions(DEFAULT_CHECKPOINT, measured)
    questions = list(islice(questions, 2))
    assert [question.model.attribute for question in questions] == ["color", "product_type"]
    for question in questions:
        right = question.mask.astype(np.float32)  # most of it exactly 0
        found = measure(question, {"right": right, "wrong": 1 - right})
        for figure, better in enumerate((np.less, np.greater, np.greater, np.greater)):
            assert better(found["right"][figure], found["wrong"][figure]), figure
        assert found["right"][3] > 0.95
        assert found["wrong"][3] < 0.05


def test_pixels_get_the_probabilities_of_prediction(classifier, model):
    path = sorted((TEST_SPLIT / "images").iterdir())[0]
    photograph = model.config.preprocessing.letterbox(open_image(path))
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1) / 255
    with torch.no_grad():
        found = FromPixels(model, "season")(pixels[None])[0]
    assert np.allclose(found, classifier.predict([path])[0].season.probabilities, atol=1e-4)


def test_earlier_stages_have_finer_maps(model):
    maps = CandidateMaps(model)
    layers = {title.partition(", ")[2]: chosen for title, (_, chosen) in maps.candidates.items()}
    assert layers == {"last stage": [4], "stage 3": [3], "both": [3, 4]}
    assert maps.random_grids == [tuple(side // stride for side in model.config.image_size) for stride in (32, 16)]
    assert maps.candidates[REFERENCE] == ("gradcam", [4])
    assert (METHOD, resolve_layers(model, LAYERS)) in maps.candidates.values()
    transformer = CandidateMaps(vision_transformer())
    assert transformer.candidates["gradcam, stage 3"] == ("gradcam", [3])


def test_all_maps_have_the_size_asked_for_and_random_ones_differ_between_images():
    model = vision_transformer((64, 48))
    maps, images = CandidateMaps(model), torch.randn(1, 3, 64, 48)
    first, second = (maps.of(images, ("color", 1), (80, 60), seed) for seed in (0, 1))
    assert len(first) == 4 * 3 - 1 + 2  # HiResCAM is Grad-CAM on the last stage; a random map and the Gaussian
    for name, heat in first.items():
        assert heat.shape == (80, 60)
        assert heat.min() >= 0
        assert heat.max() <= 1
        assert np.array_equal(heat, second[name]) == (not name.startswith("random map")), name
    assert first["center Gaussian"].argmax() == 40 * 60 + 30


def test_pictures_are_asked_for_once_each_and_only_where_the_product_can_be_told(measured):
    asked = Questions(DEFAULT_CHECKPOINT, measured)
    found = list(asked)
    pictures = len(asked.order)
    assert pictures == len(asked.photographs) - 1  # two ids share one
    assert len(found) + asked.without_mask == pictures
    assert asked.without_mask > 0
    assert [question.model.attribute for question in found[:5]] == [*NAMES, NAMES[0]]
    for question in found[:5]:
        assert 0.02 < question.mask.mean() < 0.98
        assert question.photograph.shape == (3, *asked.model.config.image_size)
        assert question.mask.shape == asked.model.config.image_size
        assert question.photograph[:, ~question.mask].mean() > 0.9  # white beside the product


def test_a_map_is_better_or_worse_where_its_interval_leaves_out_zero():
    noise = np.random.default_rng(0).normal(0, 0.1, (50, 4))
    reference = np.full((50, 4), 0.5)
    worse_in_deletion_better_in_road = reference + noise - noise.mean(axis=0) + [0.2, 0.01, 0.2, 0]
    report = Measured({REFERENCE: reference, "new": worse_in_deletion_better_in_road}, 3).report()
    difference = report.splitlines()[-3]
    assert re.fullmatch(r"\| new \| 0\.200 .* 0\.010 .* 0\.200 .* -?0\.000 .* \| 1 \| 1 \|", difference)
    assert "50 images; 3 skipped" in report


def test_the_command_prints_every_map_and_the_floors(trained, cleaned, capsys):
    command = ["saliency", "--checkpoint", str(trained), "--data", str(cleaned)]
    assert main([*command, "--images", "2"]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| ([^|]+?) \| (.*) \|$", printed, re.MULTILINE)
    names = [name for name, _ in rows if name and name != "---"]
    assert len(names) == 14 + 13  # and the differences to the reference
    assert set(names[:14]) - set(names[14:]) == {REFERENCE}
    assert names[11:14] == ["random map, 2×2", "random map, 4×4", "center Gaussian"]
    assert all(len(re.findall(r"-?\d+\.\d{3} \(±\d+\.\d{3}\)", cells)) == 4 for name, cells in rows if name in names)
    assert "test split, 2 images" in printed


def test_what_was_trained_on_has_to_be_known(trained, cleaned, tmp_path, capsys):
    silent = shutil.copytree(trained, tmp_path / "silent")
    (silent / "trained_on.txt").unlink()
    assert main(["saliency", "--checkpoint", str(silent), "--data", str(cleaned)]) == 2
    assert "has no trained_on.txt" in capsys.readouterr().err


def test_missing_data_is_a_sentence_and_an_exit_status(trained, tmp_path, capsys):
    assert main(["saliency", "--checkpoint", str(trained), "--data", str(tmp_path)]) == 2
    assert "data_prep.clean_data" in capsys.readouterr().err
