import dataclasses
import shutil

import pandas as pd
import pytest
import torch

from data_prep.splits import TEST, TRAIN, VALIDATION
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES
from tests.train.conftest import SPLITS, split_of
from train.data.domains import DOMAINS, PEOPLE, STREETS, TITLES, accepted_targets, load_domains
from train.data.table import DataError, fit_encoders, read_table, rows_of_split
from train.data.training_set import training_domains
from train.fit.config import SHARES

FILES = {"phone": "image", "worn": "photo", "people": "photo", "streets": "photo", "on_model": "image"}  # column


def domains_of(data, split, names=tuple(TITLES), **changes):
    split = dataclasses.replace(split_of(data, split), **changes)
    return {domain.name: domain for domain in load_domains(split, names)}


@pytest.fixture(scope="module")
def training(prepared):
    return domains_of(prepared, TRAIN)


def table_of(data, name):
    return pd.read_csv(data / name / f"{name}.csv", dtype=str, keep_default_na=False)


@pytest.mark.parametrize("split", SPLITS)
def test_domains_of_a_split_share_no_image(prepared, split):
    found = domains_of(prepared, split)
    stems = {name: {path.stem for path in domain.paths} for name, domain in found.items()}
    table = read_table(prepared)
    ids = {str(i) for i in table.loc[table["split"] == split, "id"]}
    assert stems["thumbnails"] == ids
    assert stems["high_resolution"] < ids
    assert {path.parent.name for path in found["everyday"].paths} == {split}
    for name, column in FILES.items():
        rows = table_of(prepared, "worn" if column == "photo" else name)
        rows = rows[rows["split"] == split]
        assert stems[name] == set(rows[column].str.removesuffix(".jpg"))
    assert ("other_sources" in found) == ("other_sources_without_products" in found) == (split == VALIDATION)


def test_other_sources_are_never_trained_on(prepared):
    assert {kind.name for kind in DOMAINS} - set(SHARES) == {"other_sources", "other_sources_without_products"}
    assert set(table_of(prepared, "other_sources")["split"]) == {VALIDATION}
    held_out = {"Bags", "Watches"}
    assert set(table_of(prepared, "on_model").query("split != 'test'")["type"]).isdisjoint(held_out)
    accessories = domains_of(prepared, TEST)["on_model"].accessories
    assert (
        accessories.tolist() == table_of(prepared, "on_model").query("split == 'test'")["type"].isin(held_out).tolist()
    )


def test_accepted_labels_share_the_target():
    """Each has half the weight of the one before."""
    found = accepted_targets(["Blue|Navy|Black", "Blue", "Teal|Black|Blue", "?", "Teal", ""], ("Black", "Blue", "Navy"))
    expected = [[1 / 7, 4 / 7, 2 / 7], [0, 1, 0], [2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert torch.allclose(found, torch.tensor(expected))


def test_targets_are_those_of_the_tables(training, prepared):
    split = split_of(prepared, TRAIN)
    for attribute in ATTRIBUTES:
        labels, targets = split.encoders.labels[attribute.name], training["thumbnails"].targets[attribute.name]
        assert [labels[i] for i in targets.argmax(dim=1)] == list(split.rows[attribute.column])
        assert targets.sum(dim=1).eq(1).all()
    for name in ("phone", "worn", "on_model"):
        table = table_of(prepared, name).query("split == 'train'")
        for attribute in ("color", "product_type", "gender"):
            expected = accepted_targets(table[f"{attribute}s"], split.encoders.labels[attribute])
            assert torch.equal(training[name].targets[attribute], expected)
        assert training[name].targets["product_type"].any()
        assert not training[name].targets["season"].any()


def test_only_people_are_unlabelled_fashion(training):
    unlabelled = {name for name, d in training.items() if not any(d.targets[a].any() for a in NAMES)}
    assert unlabelled == {"people", "streets", "everyday"}
    assert {name for name, domain in training.items() if not domain.is_fashion} == {"streets", "everyday"}
    assert training["people"].paths == training["streets"].paths


def test_worn_crop_is_the_box_and_a_fifth(training):
    worn = training["worn"]
    tags = dict(zip(worn.tags, worn.accessories, strict=True))
    assert tags == {"blazer": 0, "pants": 0, "shirt": 0, "shoes": 0, "socks": 1, "sunglasses": 1}
    row = list(worn.tags).index("pants")
    width, height = open_image(worn.paths[row]).size
    left, top, right, bottom = worn.boxes[row]
    assert worn[row].width == pytest.approx(1.4 * (right - left) * width, abs=1)
    assert worn[row].height == pytest.approx(
        min(1.2 * bottom - 0.2 * top, 1) * height - (top - 0.2 * (bottom - top)) * height, abs=1
    )
    part = worn.subset(worn.accessories)
    assert list(part.tags) == ["socks", "sunglasses"]
    assert part[1].tobytes() == worn[list(worn.tags).index("sunglasses")].tobytes()


def test_digest_names_files_boxes_and_targets(training):
    worn, phone = training["worn"], training["phone"]
    others = [
        dataclasses.replace(worn, boxes=worn.boxes + 0.001),
        dataclasses.replace(worn, targets=worn.targets | {"color": worn.targets["gender"]}),
        dataclasses.replace(phone, paths=phone.paths[::-1]),
    ]
    assert len({domain.digest() for domain in [worn, phone, *others]}) == 5
    assert dataclasses.replace(worn).digest() == worn.digest()


def test_seasons_are_as_frequent_as_in_thumbnails(prepared, tmp_path):
    data = shutil.copytree(prepared, tmp_path / "data")
    split = split_of(data, TRAIN)
    summer = split.rows.loc[split.rows["season"] == "Summer", "id"]
    for product in summer[1:]:
        (data / "high_resolution" / "images" / f"{product}.jpg").unlink(missing_ok=True)
    (data / "high_resolution" / "images" / f"{summer.iloc[0]}.jpg").touch()
    thumbnails, sharp = training_domains(split, ["thumbnails", "high_resolution"])
    assert len(summer) / len(thumbnails) > 2 / len(sharp)
    shares = [domain.targets["season"].mean(dim=0) for domain in (thumbnails, sharp)]
    assert torch.allclose(*shares, atol=0.01)
    assert (sharp.targets["product_type"].sum(dim=1) == 1).all()


def test_limit_takes_the_first_images(prepared, training):
    few = domains_of(prepared, TRAIN, limit=2)
    for name in ("phone", "worn", "on_model", "everyday"):
        assert few[name].paths == training[name].paths[:2]


def test_domain_that_is_not_prepared_is_left_out(cleaned, prepared, tmp_path):
    assert set(domains_of(cleaned, TRAIN)) == {"thumbnails"}
    data = shutil.copytree(prepared, tmp_path / "data")
    worn = table_of(data, "worn")
    worn[worn["split"] == TRAIN].to_csv(data / "worn" / "worn.csv", index=False)
    assert {"worn", PEOPLE, STREETS}.isdisjoint(domains_of(data, VALIDATION))


@pytest.mark.parametrize("name", ["phone", "worn", "on_model"])
def test_folder_without_its_table_is_an_error(prepared, tmp_path, name):
    data = shutil.copytree(prepared, tmp_path / "data")
    (data / name / f"{name}.csv").unlink()
    with pytest.raises(DataError, match=rf"{name}\.csv is missing; data_prep writes it"):
        domains_of(data, TRAIN)


def test_image_that_cannot_be_read_is_named(prepared, tmp_path):
    data = shutil.copytree(prepared, tmp_path / "data")
    everyday = domains_of(data, TRAIN)["everyday"]
    everyday.paths[0].write_bytes(b"")
    with pytest.raises(DataError, match=rf"{everyday.paths[0].name}: The file is empty"):
        everyday[0]


def test_empty_cell_is_no_label(cleaned):
    rows = rows_of_split(read_table(cleaned), TRAIN)
    rows.loc[rows.index[:3], "season"] = ""
    split = dataclasses.replace(split_of(cleaned, TRAIN), rows=rows)
    known = load_domains(split, ["thumbnails"])[0].targets["season"].sum(dim=1)
    assert known.tolist() == [0.0] * 3 + [1.0] * (len(rows) - 3)
    assert "" not in fit_encoders(rows, ATTRIBUTES).labels["season"]
    with pytest.raises(DataError, match="no column 'season' for attribute 'season'"):
        fit_encoders(rows.drop(columns="season"), ATTRIBUTES)
    with pytest.raises(DataError, match="the column 'gender' of the training rows is empty"):
        fit_encoders(rows.assign(gender=""), ATTRIBUTES)


def test_split_without_rows_is_an_error(cleaned):
    table = read_table(cleaned)
    with pytest.raises(DataError, match=r"no rows in split 'test'; it has \['train', 'validation'\]"):
        rows_of_split(table[table["split"] != TEST], TEST)
    with pytest.raises(DataError, match=r"cleaned_styles\.csv is missing"):
        read_table(cleaned / "images")
