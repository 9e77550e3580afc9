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

from data_prep.negatives import PAINTERS
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.preprocessing import Preprocessing
from tests.conftest import ATTRIBUTES, NAMES
from tests.train.conftest import SPLITS, trainer_for, training_rows
from train.data import domains
from train.data.domains import Domain, accepted_targets, label_targets, no_targets
from train.data.sampling import draw_epoch, repeat_factors
from train.data.table import DataError, read_table, rows_of_split
from train.data.training_set import EMPTY, MAX_EMPTY, REPEATS, TrainingSet, training_domains
from train.fit.data import validation_domains

DOMAINS = {"thumbnails", "high_resolution", "phone", "on_model", "everyday", "negatives"}
SIZE = 64


@pytest.fixture(scope="module")
def rows(prepared):
    return training_rows(prepared)[0]


@pytest.fixture(scope="module")
def encoders(prepared):
    return training_rows(prepared)[2]


def parts_of(data, targets=None, **options):
    rows, attributes, encoders = training_rows(data)
    return training_domains(data, rows, targets or label_targets(rows, attributes, encoders), encoders, **options)


@pytest.fixture(scope="module")
def parts(prepared):
    return parts_of(prepared, balanced=["season"])


@pytest.fixture(scope="module")
def training_set(prepared, parts):
    return TrainingSet(parts, prepared, SIZE, repeat_threshold=0)


def of_domain(training_set, kind):
    return [index for index, found in enumerate(training_set.domains) if found == kind]


def test_an_epoch_shows_every_kind_of_picture_as_often_as_the_table_says(training_set):
    assert set(training_set.domains) == {*DOMAINS, EMPTY}
    drawn = Counter(
        training_set.domains[index] for index in draw_epoch(training_set.factors, torch.Generator().manual_seed(0))
    )
    assert set(drawn) == {*DOMAINS, EMPTY}
    for kind in set(training_set.domains):
        indices = of_domain(training_set, kind)
        assert (training_set.factors[indices] == REPEATS[kind]).all()
        assert drawn[kind] == pytest.approx(REPEATS[kind] * len(indices), abs=1)


def test_rare_labels_come_more_often_in_the_catalogue_alone(prepared, parts, encoders, training_set):
    rarer = TrainingSet(parts, prepared, SIZE, repeat_threshold=0.2)
    more = rarer.factors / training_set.factors
    assert more[of_domain(rarer, "thumbnails")].max() > 1.5
    assert more[of_domain(rarer, "high_resolution")].max() > 1.5
    assert more.min() == 1
    for kind in ("phone", "on_model", "everyday", "negatives", EMPTY):
        assert (more[of_domain(rarer, kind)] == 1).all()


def test_empty_backgrounds_stay_few_beside_few_pictures(training_set, parts):
    pictures = sum(map(len, parts))
    assert 0 < training_set.domains.count(EMPTY) == math.ceil(pictures / 50) < MAX_EMPTY


def test_a_view_follows_its_seed(training_set):
    for kind in (*sorted(DOMAINS), EMPTY):
        index = of_domain(training_set, kind)[0]
        first, again, *others = (training_set[index, seed] for seed in (1, 1, 2, 3))
        assert first[0].shape == (3, SIZE, SIZE)
        assert first[0].dtype == torch.uint8
        assert first[1] == index
        assert torch.equal(first[0], again[0])
        assert not any(torch.equal(first[0], view) for view, _ in others)


def test_the_white_beside_a_photograph_stays_pure(training_set):
    """As the network in use sees it: what lenses and compression do to a photograph does not reach beyond its edge."""
    bordered = 0
    for index in of_domain(training_set, "phone")[:8]:
        for seed in range(8):
            view = training_set.view(index, np.random.default_rng(seed))
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
    square = Domain("high_resolution", [tmp_path / "1.jpg"], no_targets(1, encoders))
    training_set = TrainingSet([square, *parts[2:]], prepared, SIZE, repeat_threshold=0)
    composites = 0
    for seed in range(100):
        view = training_set.view(0, np.random.default_rng(seed)).astype(int)
        red = (view[..., 0] > 60) & (view[..., 0] > 2 * view[..., 1]) & (view[..., 0] > 2 * view[..., 2])
        assert red.mean() > 0.02
        content = view[:, view.min(axis=(0, 2)) < 255][view.min(axis=(1, 2)) < 255]
        corners = content[[1, 1, -2, -2], [1, -2, 1, -2]]
        composites += bool((corners.min(axis=1) < 120).any())
    assert 25 < composites < 65


def test_worker_processes_give_the_same_batches_as_none(prepared, tmp_path):
    trainer, _ = trainer_for(prepared, tmp_path)
    drawn = []
    for workers in (0, 2):
        trainer.config = dataclasses.replace(trainer.config, workers=workers)
        drawn.append(list(trainer.batches(1)))
    assert len(drawn[0]) == len(drawn[1]) > 5
    for (views, indices), (others, same) in zip(*drawn, strict=True):
        assert torch.equal(indices, same)
        assert torch.equal(views, others)
    _, before = next(iter(trainer.batches(0)))
    assert not torch.equal(before, drawn[0][0][1])


def test_opencv_has_no_threads_that_a_forked_process_would_wait_for():
    assert cv2.getNumThreads() == 1


def test_nothing_of_another_split_is_trained_or_chosen_on(prepared, rows, encoders, parts):
    table = read_table(prepared)
    chosen = validation_domains(prepared, rows_of_split(table, VALIDATION), ATTRIBUTES, encoders, limit=None)
    assert {part.name for part in parts} == DOMAINS
    assert {part.name for part in chosen} == DOMAINS - {"on_model", "negatives"}
    ids = {split: set(table.loc[table["split"] == split, "id"].astype(str)) for split in SPLITS}
    phone = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str)
    phone_ids = {split: set(phone.loc[phone["split"] == split, "image"]) for split in SPLITS}
    for split, found in ((TRAIN, parts), (VALIDATION, chosen)):
        by_kind = {part.name: {path.stem for path in part.paths} for part in found}
        assert by_kind["thumbnails"] == ids[split]
        assert by_kind["high_resolution"] < ids[split]
        assert by_kind["phone"] == phone_ids[split]
        assert {path.parent.name for part in found if part.name == "everyday" for path in part.paths} == {split}
    on_model = pd.read_csv(prepared / "on_model" / "on_model.csv").set_index("image")
    used = [path.name for part in parts if part.name == "on_model" for path in part.paths]
    assert set(on_model.loc[used, "split"]) == {TRAIN}
    assert not {"Bags", "Watches"} & set(on_model.loc[used, "type"])


def test_grounds_are_those_of_training(training_set, prepared):
    assert len(training_set.backgrounds.textures) == len(list((prepared / "backgrounds" / "train").iterdir()))
    assert len(training_set.backgrounds.photographs) == training_set.domains.count("phone")
    assert len(training_set.backgrounds.everyday) == training_set.domains.count("everyday")
    first = of_domain(training_set, "everyday")[0]
    assert (training_set.backgrounds.everyday[0] == np.asarray(Image.open(training_set.paths[first]))).all()
    assert len(training_set.empty_backgrounds.textures) == len(training_set.backgrounds.textures)
    assert len(training_set.empty_backgrounds.photographs) == 0  # they show clothes


def test_with_the_public_data_set_alone_there_are_thumbnails_and_plain_backgrounds(cleaned):
    training_set = TrainingSet(parts_of(cleaned), cleaned, SIZE, repeat_threshold=0.003)
    assert set(training_set.domains) == {"thumbnails", EMPTY}
    assert (training_set.is_fashion == torch.tensor([domain != EMPTY for domain in training_set.domains])).all()
    for index in range(0, len(training_set), 4):
        assert training_set[index, 0][0].shape == (3, SIZE, SIZE)


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
    assert [part.is_fashion for part in parts] == [1, 1, 1, 1, 0, 0]
    assert {path.stem for path in drawn.paths} == {f"{kind}-0" for kind in PAINTERS}


def test_high_resolution_photographs_have_the_seasons_as_often_as_thumbnails(prepared, rows, tmp_path):
    """Though those of summer are rarer among them."""
    data = shutil.copytree(prepared, tmp_path / "data")
    of_summer = rows.loc[rows["season"] == "Summer", "id"]
    for product in of_summer[1:]:
        (data / "high_resolution" / "images" / f"{product}.jpg").unlink(missing_ok=True)
    (data / "high_resolution" / "images" / f"{of_summer.iloc[0]}.jpg").touch()
    thumbnails, high_resolution, *_ = parts_of(data, balanced=["season"])
    shares = [part.targets["season"].mean(dim=0) for part in (thumbnails, high_resolution)]
    assert (rows["season"] == "Summer").mean() > 2 / len(high_resolution)
    assert torch.allclose(*shares, atol=0.01)
    assert (high_resolution.targets["product_type"].sum(dim=1) == 1).all()


def test_a_smoke_run_takes_few_images_of_each_domain(prepared, rows, encoders):
    few = {part.name: len(part) for part in parts_of(prepared, limit=3)}
    assert few["phone"] == few["on_model"] == few["everyday"] == 3
    assert few["thumbnails"] == len(rows)
    validation = rows_of_split(read_table(prepared), VALIDATION)
    few = {part.name: len(part) for part in validation_domains(prepared, validation, ATTRIBUTES, encoders, limit=2)}
    assert (few["phone"], few["everyday"]) == (2, 2)


def test_a_domain_without_images_in_a_split_is_left_out(prepared, encoders, tmp_path):
    (tmp_path / "images").symlink_to(prepared / "images")
    (tmp_path / "phone").mkdir()
    table = pd.read_csv(prepared / "phone" / "phone.csv", dtype=str, keep_default_na=False)
    table[table["split"] == TRAIN].to_csv(tmp_path / "phone" / "phone.csv", index=False)
    validation = rows_of_split(read_table(prepared), VALIDATION)
    found = validation_domains(tmp_path, validation, ATTRIBUTES, encoders, None)
    assert [part.name for part in found] == ["thumbnails"]


def test_what_has_not_been_prepared_is_named(prepared, tmp_path):
    for folder, message in (
        ("phone", "phone.csv is missing; `python -m data_prep.phone_photographs"),
        ("on_model", "on_model.csv is missing; `python -m data_prep.photographs"),
        ("everyday/train", "everyday/train has no images; data_prep writes them"),
    ):
        data = tmp_path / folder.replace("/", "-")
        (data / folder).mkdir(parents=True)
        (data / "cleaned_styles.csv").symlink_to(prepared / "cleaned_styles.csv")
        with pytest.raises(DataError, match=message):
            parts_of(data)


def test_an_image_that_cannot_be_read_is_named(encoders, tmp_path):
    (tmp_path / "everyday" / "train").mkdir(parents=True)
    (tmp_path / "everyday" / "train" / "a-1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a-1\.jpg: The file is empty"):
        domains.everyday(tmp_path, "train", encoders)[0]


def test_rare_labels_are_repeated_by_the_square_root_of_their_rarity():
    targets = torch.tensor([[0, 0]] * 90 + [[0, 1]] * 9 + [[1, 0]])
    factors = repeat_factors(targets, threshold=0.16)
    assert factors[:90].tolist() == [1] * 90
    assert factors[90].item() == pytest.approx((0.16 / 0.09) ** 0.5)
    assert factors[99].item() == pytest.approx(4)
    assert (repeat_factors(targets, threshold=0) == 1).all()
    drawn = draw_epoch(factors, torch.Generator().manual_seed(1))
    assert len(drawn) == math.ceil(factors.sum().item())
    assert drawn.count(99) in (4, 5)
    assert all(drawn.count(row) in (1, 2) for row in range(99))
    assert drawn != sorted(drawn)
    assert draw_epoch(factors, torch.Generator().manual_seed(1)) == drawn


def test_an_empty_cell_is_no_label(cleaned, tmp_path):
    data = shutil.copytree(cleaned, tmp_path / "data")
    table = pd.read_csv(data / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    without = table.index[table["split"] == TRAIN][:3]
    table.loc[without, "usage"] = ""
    table.to_csv(data / "cleaned_styles.csv", index=False)
    _, found = trainer_for(data, tmp_path / "run", attributes=("color", "usage"))
    assert [a.column for a in found.attributes] == ["baseColour", "usage"]
    assert "" not in found.encoders.labels["usage"]
    targets = found.training_set.targets["usage"]
    known = targets[: (table["split"] == TRAIN).sum()].sum(dim=1)
    assert known.tolist() == [0.0] * 3 + [1.0] * (len(known) - 3)
    with pytest.raises(DataError, match="no column 'length' for attribute 'length'"):
        trainer_for(data, tmp_path / "run", attributes=("color", "length"))


def test_plain_views_are_crops_and_mirror_images(prepared, parts):
    plain = TrainingSet(parts[:1], prepared, SIZE, repeat_threshold=0, plain=True)
    letterbox = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3).letterbox
    for index in range(0, len(parts[0]), 5):
        original = np.asarray(letterbox(parts[0][index])).astype(int)
        views = [plain.view(index, np.random.default_rng(seed)) for seed in range(8)]
        distances = [[np.abs(view - other).mean() for other in (original, original[:, ::-1])] for view in views]
        assert max(map(min, distances)) < 45
        assert len({view.tobytes() for view in views}) == 8
