"""How far the maps of where the network looked can be believed."""

import re
import shutil

import numpy as np
import pytest
import torch

from fashion_model.checkpoint import DEFAULT_CHECKPOINT, load_checkpoint
from fashion_model.images import open_image
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import jpeg
from tests.conftest import TEST_SPLIT
from train.__main__ import main
from train.explanations import FromThumbnail, Maps, Question, changed, measure, ranks


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(DEFAULT_CHECKPOINT).model.requires_grad_(False)


def test_the_hottest_pixels_change_first_and_all_in_the_end():
    thumbnail, other = torch.zeros(3, 4, 5), torch.ones(3, 4, 5)
    heat = np.random.default_rng(0).random((4, 5))
    found = changed(thumbnail, other, ranks(heat))
    assert found.shape == (11, 3, 4, 5)
    assert torch.equal(found[0], thumbnail)
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


def test_a_map_that_is_right_measures_better_than_one_that_is_wrong(model):
    """On a photograph that is white but for a red square, heat on the square against heat everywhere else."""
    thumbnail = torch.ones(3, 80, 60)
    mask = np.zeros((80, 60), dtype=bool)
    mask[25:55, 15:45] = True
    thumbnail[1:, 25:55, 15:45] = 0.1
    asker = FromThumbnail(model, "color")
    answer = int(asker(thumbnail[None]).argmax())
    right = mask.astype(np.float32)  # most of it exactly 0
    found = measure(Question(asker, thumbnail, mask, answer), {"right": right, "wrong": 1 - right})
    for figure, better in enumerate((np.less, np.greater, np.greater, np.greater)):
        assert better(found["right"][figure], found["wrong"][figure]), figure
    assert found["right"][3] > 0.95
    assert found["wrong"][3] < 0.05


def test_a_thumbnail_gets_the_probabilities_of_prediction(classifier, model):
    path = sorted((TEST_SPLIT / "images").iterdir())[0]
    thumbnail = jpeg(open_image(path), model.config.jpeg_quality)
    pixels = torch.from_numpy(np.array(thumbnail)).permute(2, 0, 1) / 255
    found = FromThumbnail(model, "season")(pixels[None])[0]
    assert np.allclose(found, classifier.predict([path])[0].season.probabilities, atol=0.03)  # another resize


def test_earlier_stages_have_finer_maps(model, tiny_encoders):
    maps = Maps(model)
    assert maps.coarse == (5, 4)
    layers = {title.partition(", ")[2]: chosen for title, (_, chosen) in maps.candidates.items()}
    assert layers == {"last stage": (-1,), "stage 5": (5,), "both": (5, -1)}
    transformer = MultiTaskClassifier(
        ModelConfig.for_backbone("vit_ti_8", tiny_encoders.num_classes, image_size=(64, 48))
    )
    assert ("gradcam", (7,)) in Maps(transformer.requires_grad_(False)).candidates.values()


def test_the_command_prints_every_map_and_both_floors(trained, cleaned, capsys):
    command = ["explanations", "--checkpoint", str(trained), "--data", str(cleaned)]
    assert main([*command, "--photographs", "2"]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| ([^|]+?) \| (.*) \|$", printed, re.MULTILINE)
    names = [name for name, _ in rows if name and name != "---"]
    assert len(names) == (4 * 3 + 2) + (4 * 3 + 1)  # and once more, but for the default, what differs from it
    assert names[0] not in names[14:]
    assert names[12:14] == ["random map", "blob in the centre"]
    assert all(len(re.findall(r"-?\d\.\d{3} \(±\d\.\d{3}\)", cells)) == 4 for name, cells in rows if name in names)
    assert "test split, 2 photographs" in printed


def test_what_was_trained_on_has_to_be_known(trained, cleaned, tmp_path, capsys):
    silent = shutil.copytree(trained, tmp_path / "silent")
    (silent / "trained_on.txt").unlink()
    assert main(["explanations", "--checkpoint", str(silent), "--data", str(cleaned)]) == 2
    assert "has no trained_on.txt" in capsys.readouterr().err


def test_missing_data_is_a_sentence_and_an_exit_status(trained, tmp_path, capsys):
    assert main(["explanations", "--checkpoint", str(trained), "--data", str(tmp_path)]) == 2
    assert "data_prep.clean_data" in capsys.readouterr().err
