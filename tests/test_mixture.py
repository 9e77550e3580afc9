import dataclasses
import math
import shutil
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from data_prep.other_pictures import PAINTERS
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import ATTRIBUTES, NAMES, LabelEncoders
from tests.conftest import SPLITS
from train.dataset import DataError, draw_epoch, read_table, rows_of_split
from train.fit_config import FitConfig
from train.mixture import EMPTY, EMPTY_GROUNDS, REPEATS, Mixture, training_pictures
from train.pictures import Pictures, accepted_targets, label_targets, labelled_pictures, no_targets, pictures_in
from train.training import Training
from train.validation import validation_pictures

KINDS = {"thumbnails", "sharp", "phone", "on_model", "everyday", "drawn"}
SIZE = 64


@pytest.fixture(scope="module")
def rows(prepared):
    return rows_of_split(read_table(prepared), TRAIN)


@pytest.fixture(scope="module")
def encoders(rows):
    return LabelEncoders.fit({a.column: rows[a.column] for a in ATTRIBUTES})


@pytest.fixture(scope="module")
def parts(prepared, rows, encoders):
    return training_pictures(prepared, rows, encoders, soft=None, weight=0.5, limit=None)


@pytest.fixture(scope="module")
def mixture(prepared, parts, encoders):
    return Mixture(parts, prepared, encoders, SIZE, rare=0)


def of_kind(mixture, kind):
    return [index for index, found in enumerate(mixture.kinds) if found == kind]


def test_an_epoch_shows_every_kind_of_picture_as_often_as_the_table_says(mixture):
    assert set(mixture.kinds) == {*KINDS, EMPTY}
    drawn = Counter(mixture.kinds[index] for index in draw_epoch(mixture.factors, torch.Generator().manual_seed(0)))
    assert set(drawn) == {*KINDS, EMPTY}
    for kind in set(mixture.kinds):
        indices = of_kind(mixture, kind)
        assert (mixture.factors[indices] == REPEATS[kind]).all()
        assert drawn[kind] == pytest.approx(REPEATS[kind] * len(indices), abs=1)


def test_rare_labels_come_more_often_in_the_catalogue_alone(prepared, parts, encoders, mixture):
    rarer = Mixture(parts, prepared, encoders, SIZE, rare=0.2)
    more = rarer.factors / mixture.factors
    assert more[of_kind(rarer, "thumbnails")].max() > 1.5
    assert more[of_kind(rarer, "sharp")].max() > 1.5
    assert more.min() == 1
    for kind in ("phone", "on_model", "everyday", "drawn", EMPTY):
        assert (more[of_kind(rarer, kind)] == 1).all()


def test_empty_grounds_stay_few_beside_few_pictures(mixture, parts):
    pictures = sum(map(len, parts))
    assert 0 < mixture.kinds.count(EMPTY) == math.ceil(pictures / 50) < EMPTY_GROUNDS


def test_a_view_follows_its_seed(mixture):
    for kind in (*sorted(KINDS), EMPTY):
        index = of_kind(mixture, kind)[0]
        first, again, *others = (mixture[index, seed] for seed in (1, 1, 2, 3))
        assert first[0].shape == (3, SIZE, SIZE)
        assert first[0].dtype == torch.uint8
        assert first[1] == index
        assert torch.equal(first[0], again[0])
        assert not any(torch.equal(first[0], view) for view, _ in others)


def test_the_white_beside_a_photograph_stays_pure(mixture):
    """As the network in use sees it: what lenses and compression do to a photograph does not reach beyond its edge."""
    bordered = 0
    for index in of_kind(mixture, "phone")[:8]:
        for seed in range(8):
            view = mixture.view(index, np.random.default_rng(seed))
            for lines in (view.swapaxes(0, 1), view):  # columns, rows
                white = (lines == 255).all(axis=(1, 2))
                before, after = int(np.argmin(white)), int(np.argmin(white[::-1]))
                if before + after < 4:
                    continue
                bordered += 1
                assert abs(before - after) <= 1
                assert lines[before].mean() < 250
                assert lines[-after - 1].mean() < 250
    assert bordered > 30


def test_a_red_square_on_white_stays_red_before_other_grounds_and_loses_the_white(prepared, parts, encoders, tmp_path):
    picture = np.full((240, 180, 3), 255, np.uint8)
    picture[70:170, 40:140] = (200, 30, 20)
    Image.fromarray(picture).save(tmp_path / "1.jpg", quality=95)
    square = Pictures("sharp", [tmp_path / "1.jpg"], no_targets(1, encoders))
    mixture = Mixture([square, *parts[2:]], prepared, encoders, SIZE, rare=0)
    composites = 0
    for seed in range(100):
        view = mixture.view(0, np.random.default_rng(seed)).astype(int)
        red = (view[..., 0] > 60) & (view[..., 0] > 2 * view[..., 1]) & (view[..., 0] > 2 * view[..., 2])
        assert red.mean() > 0.02
        content = view[:, view.min(axis=(0, 2)) < 255][view.min(axis=(1, 2)) < 255]
        corners = content[[1, 1, -2, -2], [1, -2, 1, -2]]
        composites += bool((corners.min(axis=1) < 120).any())
    assert 25 < composites < 65


def test_worker_processes_give_the_same_batches_as_none(prepared, tmp_path):
    config = FitConfig(str(prepared), str(tmp_path), "efficientnet_lite0", weights="none", device="cpu").shrunk()
    training = Training(config)
    drawn = []
    for workers in (0, 2):
        training.config = dataclasses.replace(config, workers=workers)
        drawn.append(list(training._batches(1)))
    assert len(drawn[0]) == len(drawn[1]) > 5
    for (views, indices), (others, same) in zip(*drawn, strict=True):
        assert torch.equal(indices, same)
        assert torch.equal(views, others)
    _, before = next(iter(training._batches(0)))
    assert not torch.equal(before, drawn[0][0][1])


def test_opencv_has_no_threads_that_a_forked_process_would_wait_for():
    assert cv2.getNumThreads() == 1


def test_nothing_of_another_split_is_trained_or_chosen_on(prepared, rows, encoders, parts):
    table = read_table(prepared)
    chosen = validation_pictures(prepared, rows_of_split(table, VALIDATION), encoders, limit=None)
    assert {part.kind for part in parts} == KINDS
    assert {part.kind for part in chosen} == KINDS - {"on_model", "drawn"}
    ids = {split: set(table.loc[table["split"] == split, "id"].astype(str)) for split in SPLITS}
    phone = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str)
    phone_ids = {split: set(phone.loc[phone["split"] == split, "image"]) for split in SPLITS}
    for split, found in ((TRAIN, parts), (VALIDATION, chosen)):
        by_kind = {part.kind: {path.stem for path in part.paths} for part in found}
        assert by_kind["thumbnails"] == ids[split]
        assert by_kind["sharp"] < ids[split]
        assert by_kind["phone"] == phone_ids[split]
        assert {path.parent.name for part in found if part.kind == "everyday" for path in part.paths} == {split}
    on_model = pd.read_csv(prepared / "on_model" / "on_model.csv").set_index("image")
    used = [path.name for part in parts if part.kind == "on_model" for path in part.paths]
    assert set(on_model.loc[used, "split"]) == {TRAIN}
    assert not {"Bags", "Watches"} & set(on_model.loc[used, "type"])


def test_grounds_are_those_of_training(mixture, prepared):
    assert len(mixture.grounds.textures) == len(list((prepared / "backgrounds" / "train").iterdir()))
    assert len(mixture.grounds.photographs) == mixture.kinds.count("phone")
    assert len(mixture.grounds.everyday) == mixture.kinds.count("everyday")
    first = of_kind(mixture, "everyday")[0]
    assert (mixture.grounds.everyday[0] == np.asarray(mixture.photographs[first])).all()
    assert len(mixture.empty_grounds.textures) == len(mixture.grounds.textures)
    assert len(mixture.empty_grounds.photographs) == 0  # they show clothes


def test_with_the_public_data_set_alone_there_are_thumbnails_and_plain_grounds(cleaned):
    rows = rows_of_split(read_table(cleaned), TRAIN)
    encoders = LabelEncoders.fit({a.column: rows[a.column] for a in ATTRIBUTES})
    parts = training_pictures(cleaned, rows, encoders, soft=None, weight=0.5, limit=None)
    mixture = Mixture(parts, cleaned, encoders, SIZE, rare=0.003)
    assert set(mixture.kinds) == {"thumbnails", EMPTY}
    assert (mixture.fashion == torch.tensor([kind != EMPTY for kind in mixture.kinds])).all()
    for index in range(0, len(mixture), 4):
        assert mixture[index, 0][0].shape == (3, SIZE, SIZE)


def test_accepted_names_share_the_target_each_with_half_the_weight_of_the_one_before():
    labels = ("Black", "Blue", "Navy Blue")
    found = accepted_targets(["Blue|Navy Blue|Black", "Blue", "Teal|Black|Blue", "?", "Teal"], labels)
    expected = [[1 / 7, 4 / 7, 2 / 7], [0, 1, 0], [2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 0]]
    assert torch.allclose(found, torch.tensor(expected))


def test_targets_are_what_the_tables_say(parts, rows, encoders, prepared):
    thumbnails, _, phone, on_model, everyday, drawn = parts
    for attribute in ATTRIBUTES:
        labels = encoders.labels[attribute.name]
        assert [labels[i] for i in thumbnails.targets[attribute.name].argmax(dim=1)] == list(rows[attribute.column])
        assert thumbnails.targets[attribute.name].sum(dim=1).eq(1).all()
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False).set_index("image")
    for number, path in enumerate(phone.paths):
        names = [n for n in table.loc[path.stem, "colors"].split("|") if n in encoders.labels["color"]]
        target = phone.targets["color"][number]
        order = target.argsort(descending=True)[: len(names)]
        assert [encoders.labels["color"][i] for i in order] == names
        assert (target > 0).sum() == len(names)
    assert all(not part.targets["season"].any() for part in (phone, on_model))
    assert all(not part.targets[name].any() for name in NAMES for part in (everyday, drawn))
    assert [part.fashion for part in parts] == [1, 1, 1, 1, 0, 0]
    assert {path.stem for path in drawn.paths} == {f"{kind}-0" for kind in PAINTERS}


def test_another_networks_answers_get_their_weight(prepared, rows, encoders):
    random = torch.Generator().manual_seed(0)
    soft = {n: torch.randn(len(rows), len(encoders.labels[n]), generator=random).softmax(dim=1) for n in NAMES}
    labels = label_targets(rows, encoders)
    thumbnails, sharp, *_ = training_pictures(prepared, rows, encoders, soft, weight=0.3, limit=None)
    for name in NAMES:
        assert torch.allclose(thumbnails.targets[name], 0.3 * soft[name] + 0.7 * labels[name])
    place = {str(product): number for number, product in enumerate(rows["id"])}
    order = [place[path.stem] for path in sharp.paths]
    assert torch.allclose(sharp.targets["color"], thumbnails.targets["color"][order])
    same = thumbnails.targets["season"][order]
    assert torch.allclose(sharp.targets["season"], same * sharp.targets["season"].sum(dim=1, keepdim=True))


def test_sharp_photographs_tell_of_the_seasons_as_often_as_thumbnails(prepared, rows, encoders, parts, tmp_path):
    """Though those of summer are rarer among them, so that sharpness is no sign of a season."""
    data = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("decoded"))
    of_summer = rows.loc[rows["season"] == "Summer", "id"]
    for product in of_summer[1:]:
        (data / "sharp" / "images" / f"{product}.jpg").unlink(missing_ok=True)
    (data / "sharp" / "images" / f"{of_summer.iloc[0]}.jpg").touch()
    thumbnails, sharp, *_ = training_pictures(data, rows, encoders, None, 0.5, None)
    shares = [part.targets["season"].mean(dim=0) for part in (thumbnails, sharp)]
    assert (rows["season"] == "Summer").mean() > 2 / len(sharp)
    assert torch.allclose(*shares, atol=0.01)
    assert (sharp.targets["product_type"].sum(dim=1) == 1).all()


def test_a_smoke_run_takes_few_pictures_of_each_other_kind(prepared, rows, encoders):
    few = {part.kind: len(part) for part in training_pictures(prepared, rows, encoders, None, 0.5, limit=3)}
    assert few["phone"] == few["on_model"] == few["everyday"] == 3
    assert few["thumbnails"] == len(rows)
    validation = rows_of_split(read_table(prepared), VALIDATION)
    few = {part.kind: len(part) for part in validation_pictures(prepared, validation, encoders, limit=2)}
    assert (few["phone"], few["everyday"]) == (2, 2)


def test_a_split_without_a_kind_of_picture_is_not_measured_on_it(prepared, rows, encoders, tmp_path):
    (tmp_path / "images").symlink_to(prepared / "images")
    (tmp_path / "phone").mkdir()
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table[table["split"] == TRAIN].to_csv(tmp_path / "phone" / "phone.csv", index=False)
    validation = rows_of_split(read_table(prepared), VALIDATION)
    assert [part.kind for part in validation_pictures(tmp_path, validation, encoders, None)] == ["thumbnails"]


def test_what_has_not_been_prepared_is_named(prepared, rows, encoders, tmp_path):
    for folder, message in (
        ("phone", "phone.csv is missing; `python -m data_prep.phone_photographs"),
        ("on_model", "on_model.csv is missing; `python -m data_prep.more_pictures"),
        ("everyday", "everyday/train holds no pictures; `python -m data_prep.more_pictures"),
    ):
        data = tmp_path / folder
        (data / folder).mkdir(parents=True)
        with pytest.raises(DataError, match=message):
            training_pictures(data, rows, encoders, None, 0.5, None)


def test_a_picture_that_cannot_be_read_is_named(encoders, tmp_path):
    (tmp_path / "a-1.jpg").write_bytes(b"")
    pictures = pictures_in("everyday", tmp_path, encoders, fashion=0.0)
    with pytest.raises(DataError, match=r"a-1\.jpg: The file is empty"):
        pictures[0]
    columns = {"image": ["b.jpg"], "colors": ["?"], "product_types": ["?"], "genders": ["?"]}
    with pytest.raises(DataError, match=r"b\.jpg: The file cannot be read"):
        labelled_pictures("phone", pd.DataFrame(columns), tmp_path, encoders)[0]
