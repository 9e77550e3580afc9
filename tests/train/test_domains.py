import shutil
from dataclasses import replace

import pytest
import torch

from data_prep.splits import TEST, TRAIN, VALIDATION
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES
from tests.data_prep.conftest import table_of
from tests.train.conftest import SPLITS, split_of
from train.data import table as tables
from train.data.domains import DOMAINS, TITLES, accepted_targets, load_domains
from train.fit.config import SHARES
from train.fit.start import training_domains

FILES = {"phone": "image", "worn": "photo", "people": "photo", "streets": "photo", "on_model": "image"}  # column


def domains_of(data, split, names=tuple(TITLES), **changes):
    split = replace(split_of(data, split), **changes)
    return {domain.name: domain for domain in load_domains(split, names)}


@pytest.fixture(scope="module")
def training(prepared):
    return domains_of(prepared, TRAIN)


@pytest.fixture
def copied(prepared, tmp_path):
    """The prepared data, to be changed."""
    return shutil.copytree(prepared, tmp_path / "data")


@pytest.mark.parametrize("split", SPLITS)
def test_domains_of_a_split_share_no_image(prepared, split):
    domains = domains_of(prepared, split)
    stems = {name: {path.stem for path in domain.paths} for name, domain in domains.items()}
    table = tables.read_table(prepared)
    ids = set(table.loc[table["split"] == split, "id"])
    assert stems["thumbnails"] == ids
    assert stems["high_resolution"] < ids
    assert {path.parent.name for path in domains["everyday"].paths} == {split}
    for name, column in FILES.items():
        rows = table_of(prepared, "worn/worn.csv" if column == "photo" else f"{name}/{name}.csv")
        rows = rows[rows["split"] == split]
        assert stems[name] == set(rows[column].str.removesuffix(".jpg"))
    assert ("other_sources" in domains) == ("other_sources_without_products" in domains) == (split == VALIDATION)


def test_other_sources_are_never_trained_on(prepared):
    assert {kind.name for kind in DOMAINS} - set(SHARES) == {"other_sources", "other_sources_without_products"}
    types = table_of(prepared, "on_model/on_model.csv").query("split == 'test'")["type"]
    accessories = domains_of(prepared, TEST)["on_model"].accessories
    assert accessories.tolist() == types.isin({"Bags", "Watches"}).tolist()
    others = domains_of(prepared, VALIDATION, ["other_sources", "other_sources_without_products"])
    assert [(len(d), bool(d.targets["product_type"].any())) for d in others.values()] == [(4, True), (3, False)]


def test_accepted_labels_share_the_target():
    """Each has half the weight of the one before."""
    cells = ["Blue|Navy| Black", "Blue", "Teal|Black|Blue", "?", "Teal", ""]
    expected = [[1 / 7, 4 / 7, 2 / 7], [0, 1, 0], [2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert torch.allclose(accepted_targets(cells, ("Black", "Blue", "Navy")), torch.tensor(expected))


def test_targets_are_those_of_the_tables(training, prepared):
    split = split_of(prepared, TRAIN)
    for attribute in ATTRIBUTES:
        labels, targets = split.encoders.labels[attribute.name], training["thumbnails"].targets[attribute.name]
        assert [labels[i] for i in targets.argmax(dim=1)] == list(split.rows[attribute.column])
        assert targets.sum(dim=1).eq(1).all()
    for name in ("phone", "worn", "on_model"):
        table = table_of(prepared, f"{name}/{name}.csv").query("split == 'train'")
        for attribute in ("color", "product_type", "gender"):
            expected = accepted_targets(table[f"{attribute}s"], split.encoders.labels[attribute])
            assert torch.equal(training[name].targets[attribute], expected)
        assert training[name].targets["product_type"].any()
        assert not training[name].targets["season"].any()
    unlabelled = {name for name, d in training.items() if not any(d.targets[a].any() for a in NAMES)}
    assert unlabelled == {"people", "streets", "everyday"}
    assert {name for name, domain in training.items() if not domain.is_fashion} == {"streets", "everyday"}


def test_accessories_are_parts_of_the_worn_domain(training):
    worn = training["worn"]
    tags = dict(zip(worn.tags, worn.accessories, strict=True))
    assert tags == {"blazer": 0, "pants": 0, "shirt": 0, "shoes": 0, "socks": 1, "sunglasses": 1}
    part = worn.subset(worn.accessories)
    assert list(part.tags) == ["socks", "sunglasses"]
    assert part[1].tobytes() == worn[list(worn.tags).index("sunglasses")].tobytes()


def test_worn_crop_is_the_box_and_a_fifth(training):
    worn = training["worn"]
    row = list(worn.tags).index("pants")
    width, height = open_image(worn.paths[row]).size
    left, top, right, bottom = worn.boxes[row]
    above, below = top - 0.2 * (bottom - top), min(bottom + 0.2 * (bottom - top), 1)
    assert worn[row].width == pytest.approx(1.4 * (right - left) * width, abs=1)
    assert worn[row].height == pytest.approx((below - above) * height, abs=1)


def test_seasons_are_as_frequent_as_in_thumbnails(copied):
    split = split_of(copied, TRAIN)
    summer = split.rows.loc[split.rows["season"] == "Summer", "id"]
    for product in summer[1:]:
        (copied / "high_resolution" / "images" / f"{product}.jpg").unlink(missing_ok=True)
    (copied / "high_resolution" / "images" / f"{summer.iloc[0]}.jpg").touch()
    thumbnails, sharp = training_domains(split, ["thumbnails", "high_resolution"])
    assert len(summer) / len(thumbnails) > 2 / len(sharp)
    shares = [domain.targets["season"].mean(dim=0) for domain in (thumbnails, sharp)]
    assert torch.allclose(*shares, atol=0.01)
    assert (sharp.targets["product_type"].sum(dim=1) == 1).all()


def test_what_is_not_prepared_is_left_out(cleaned, copied):
    assert set(domains_of(cleaned, TRAIN)) == {"thumbnails"}
    (copied / "phone" / "phone.csv").unlink()
    with pytest.raises(tables.DataError, match=r"phone\.csv is missing; data_prep writes it"):
        domains_of(copied, TRAIN)


OWN = """id;group;split;fabric
0108775015;style-0;train;cotton | silk
108775015;style-0;validation;silk
b;style-1;train;?
c;style-2;validation;
"""


def test_own_table_is_read_as_text(tmp_path):
    (tmp_path / "cleaned_styles.csv").write_text(OWN, encoding="utf-16")
    table, attributes = tables.read_table(tmp_path), tables.attributes_named(["fabric"])
    assert list(table["id"]) == ["0108775015", "108775015", "b", "c"]
    rows = tables.rows_of_split(table, TRAIN)
    assert tables.fit_encoders(rows, attributes).labels == {"fabric": ("cotton", "silk")}
    tables.write_trained_on(tmp_path, rows["id"])
    assert tables.read_trained_on(tmp_path) == {"0108775015", "b"}
    left = tables.without_pictures_of(tables.rows_of_split(table, VALIDATION), table, tables.read_trained_on(tmp_path))
    assert list(left["id"]) == ["c"]  # the other shows a picture that was trained on


@pytest.mark.parametrize("names", [["model"], ["nll_sum"], ["split"], ["id"], ["fabric", "fabric"], ["Price / EUR"]])
def test_names_of_other_things_are_no_attributes(names):
    with pytest.raises(ValueError, match=r"cannot be an attribute's name|named twice|lower-case letters"):
        tables.attributes_named(names)


def test_empty_cell_is_no_label(cleaned):
    table = tables.read_table(cleaned)
    rows = tables.rows_of_split(table, TRAIN)
    rows.loc[rows.index[:3], "season"] = ""
    known = domains_of(cleaned, TRAIN, rows=rows)["thumbnails"].targets["season"].sum(dim=1)
    assert known.tolist() == [0.0] * 3 + [1.0] * (len(rows) - 3)
    with pytest.raises(tables.DataError, match="the column 'gender' of the training rows is empty"):
        tables.fit_encoders(rows.assign(gender=""), ATTRIBUTES)
    with pytest.raises(tables.DataError, match=r"no rows in split 'test'; it has \['train', 'validation'\]"):
        tables.rows_of_split(table[table["split"] != TEST], TEST)
