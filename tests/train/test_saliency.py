"""Measures of class activation maps, on real photographs of people in the street."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from data_prep import street_photographs
from data_prep.archive import SourceConfig
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.explain import LAYERS, METHOD, METHODS, Target, explain
from tests.conftest import DATA
from train.__main__ import main
from train.data.domains import Split, load_domains
from train.data.table import read_table
from train.studies.saliency import MEASURES, cell, correlation, crops_of, ranks


@pytest.fixture(scope="module")
def worn(cleaned, tmp_path_factory):
    """Cleaned data with three street photographs, all of the test split."""
    folder = shutil.copytree(cleaned, tmp_path_factory.mktemp("worn") / "data")
    street_photographs.run(SourceConfig(DATA / "street", folder))
    path = folder / "worn" / "worn.csv"
    pd.read_csv(path, dtype=str, keep_default_na=False).assign(split="test").to_csv(path, index=False)
    return folder


@pytest.fixture(scope="module")
def crops(worn):
    return list(crops_of(DEFAULT_CHECKPOINT, worn))


def test_crops_are_those_with_the_right_type(crops, worn, classifier):
    split = Split(worn, "test", read_table(worn), classifier.attributes, classifier.encoders)
    (domain,) = load_domains(split, ["worn"])
    labels, accepted = classifier.encoders.labels["product_type"], domain.targets["product_type"] > 0
    types = [prediction.product_type for prediction in classifier.predict(domain[row] for row in range(len(domain)))]
    right = {row: labels.index(t.label) for row, t in enumerate(types) if accepted[row, labels.index(t.label)]}
    assert {crop.number: crop.predicted for crop in crops} == right
    assert 0 < len(right) < len(domain)
    expected = types[crops[0].number].probabilities
    assert np.allclose(crops[0].probabilities(crops[0].pixels[None])[0], expected, atol=1e-3)


def test_masks_cover_the_product_in_its_crop(crops):
    for crop in crops:
        assert crop.pixels.shape[1:] == crop.mask.shape
        rows, columns = np.nonzero(crop.mask)
        assert 0.02 < crop.mask.mean() < 0.8
        assert abs(rows.mean() / crop.mask.shape[0] - 0.5) < 0.2  # the margins are equal
        assert abs(columns.mean() / crop.mask.shape[1] - 0.5) < 0.2


def test_right_map_measures_better_than_wrong(crops):
    crop = max(crops, key=lambda crop: crop.mask.mean())
    right, wrong = (np.stack([heat, heat]).astype(np.float32) for heat in (crop.mask, ~crop.mask))
    for name in ("deletion", "insertion", "ROAD", "energy", "peak"):
        direction, measure = MEASURES[name]
        assert direction * measure(crop, right) > direction * measure(crop, wrong), name
    assert MEASURES["energy"][1](crop, right) == pytest.approx(1)


def test_maps_are_those_of_explain(crops):
    names = ["product_type", *(name for name in crops[0].model.config.num_classes if name != "product_type")]
    image = crops[0].model.config.preprocessing.normalise(crops[0].pixels[None])
    expected = explain(crops[0].model, image, [Target(name) for name in names]).maps
    assert np.allclose(np.delete(crops[0].maps(METHOD, LAYERS), 1, axis=0), expected, atol=1e-5)


def test_ranks_follow_the_map_and_scatter_ties():
    heat = np.zeros((20, 30))
    heat[:10, :15] = 1
    order = ranks(heat)
    assert sorted((order * heat.size).round().ravel()) == list(range(600))
    assert order[:10, :15].min() == pytest.approx(450 / 600)
    low = np.argwhere((order < 225 / 600) & (heat == 0))
    assert low[:, 0].min() < 3
    assert low[:, 0].max() > 16


def test_correlation_of_maps():
    heat = np.random.default_rng(0).random((8, 8))
    assert correlation(np.stack([heat, 0.5 * heat])) == pytest.approx(1)
    assert correlation(np.stack([heat, 1 - heat, heat])) == pytest.approx(-1 / 3)
    assert correlation(np.stack([heat, np.zeros((8, 8))])) == 0


@pytest.mark.parametrize(("measure", "shift", "mark"), [("peak", 0.2, " +"), ("deletion", 0.2, " -"), ("peak", 0, "")])
def test_marks_say_what_is_better_or_worse(measure, shift, mark):
    noise, default = np.random.default_rng(0).normal(0, 0.05, 50), np.full(50, 0.5)
    groups = [str(number) for number in range(50)]
    assert cell(default + shift + noise - noise.mean(), default, measure, groups).endswith(f"){mark}")


@pytest.mark.slow
def test_command_prints_candidates_and_floors(worn, capsys):
    command = ["saliency", "--checkpoint", str(DEFAULT_CHECKPOINT), "--data", str(worn), "--crops", "2"]
    assert main([*command, "--stages", "-1", "--measures", "energy", "peak", "runner-up"]) == 0
    rows = re.findall(r"^\| (\S[^|]+?) +\|(.*)\|$", capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == len(METHODS) + 2
    assert rows[0][0] == "gradcam++, stages (-1,)"
    assert all(len(re.findall(r"-?\d\.\d\d \(-?\d\.\d\d to -?\d\.\d\d\)", cells)) == 3 for _, cells in rows)
    assert not re.search(r"\) [+-]", rows[0][1])


@pytest.mark.parametrize("data", ["cleaned", "tmp_path"])
def test_missing_photographs_are_a_sentence(data, request, capsys):
    folder = request.getfixturevalue(data)
    assert main(["saliency", "--checkpoint", str(DEFAULT_CHECKPOINT), "--data", str(folder)]) == 2
    assert re.search("no worn products|is missing", capsys.readouterr().err)
