import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.more_pictures import neighbourhood
from data_prep.phone_photographs import COARSE
from fashion_model import FashionClassifier
from fashion_model.images import open_image
from tests.conftest import BACKGROUNDS
from train.__main__ import main
from train.accepted import group_interval
from train.evaluation import Evaluation
from train.pictures import ACCEPTED
from train.visitors import COMPOSITE_SIDE, Composites, accessories, visitor_metrics


def evaluate(checkpoint, data, output):
    arguments = ["evaluate", "--checkpoint", str(checkpoint), "--data", str(data), "--output", str(output)]
    assert main([*arguments, "--device", "cpu"]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def visitors(trained_on_all, prepared, tmp_path_factory):
    """What metrics.json says of the test split's pictures like those of visitors."""
    return evaluate(trained_on_all, prepared, tmp_path_factory.mktemp("figures") / "metrics.json")["visitors"]


@pytest.fixture(scope="module")
def asked(trained_on_all):
    return FashionClassifier.from_pretrained(trained_on_all)


@pytest.fixture(scope="module")
def evaluation(trained_on_all, prepared):
    return Evaluation(trained_on_all, prepared, "test")


def rows_of(data, kind, split="test"):
    table = pd.read_csv(data / kind / f"{kind}.csv", dtype=str, keep_default_na=False)
    return table[table["split"] == split]


def check(figures, predictions, table, labels, groups):
    """The figures are those of `predictions` of the pictures in the rows of `table`."""
    assert figures["photographs"] == len(predictions) == len(table)
    assert "season" not in figures["attributes"]
    for name, column in ACCEPTED.items():
        names = [set(n.split("|")) & set(labels[name]) for n in table[column]]
        known = np.array([bool(n) for n in names])
        assert (name in figures["attributes"]) == known.any()
        if known.any():
            right = np.array([p[name].label in n for p, n in zip(predictions, names, strict=True)])[known]
            of_attribute = figures["attributes"][name]
            assert of_attribute["photographs"] == known.sum()
            assert of_attribute["accuracy"] == pytest.approx(right.mean())
            assert of_attribute["accuracy_interval"] == pytest.approx(group_interval(right, np.array(groups)[known]))
            confidence = np.array([p[name].confidence for p in predictions])[known]
            assert of_attribute["confidence"] == pytest.approx(confidence.mean(), abs=1e-4)
    check_share(figures["recognised"], [p.is_fashion for p in predictions], groups)


def check_share(found, hit, groups):
    hit = np.array(hit)
    assert found["photographs"] == len(hit)
    assert found["share"] == pytest.approx(hit.mean())
    assert found["interval"] == pytest.approx(group_interval(hit, groups))


def test_the_figures_of_phone_photographs_are_what_predict_says_of_them(visitors, asked, prepared):
    table, figures = rows_of(prepared, "phone"), visitors["phone"]
    predictions = asked.predict([prepared / "phone" / "images" / f"{image}.jpg" for image in table["image"]])
    assert 20 < len(table) < 128
    check(figures, predictions, table, asked.encoders.labels, list(table["sender"]))
    assert figures["contributors"] == table["sender"].nunique() > 3
    said = table["contributed_label"].isin(COARSE).to_numpy()
    met = [
        p.product_type.label in COARSE.get(label, ())
        for p, label in zip(predictions, table["contributed_label"], strict=True)
    ]
    check_share(
        {key: figures["coarse_label"][key] for key in ("photographs", "share", "interval")},
        np.array(met)[said],
        table["sender"].to_numpy()[said],
    )
    by_label = figures["coarse_label"]["by_label"]
    assert {label: of["photographs"] for label, of in by_label.items()} == (
        table["contributed_label"][said].value_counts().to_dict()
    )


def test_the_figures_of_studio_photographs_are_what_predict_says_of_them(visitors, asked, prepared):
    table = rows_of(prepared, "on_model")
    apart = table["type"].isin(["Bags", "Watches"])
    assert apart.sum() == 4
    for kind, rows in (("bags and watches", table[apart]), ("clothes on models", table[~apart])):
        assert (kind in visitors["on_model"]) == bool(len(rows))
        if len(rows):
            predictions = asked.predict([prepared / "on_model" / "images" / image for image in rows["image"]])
            check(visitors["on_model"][kind], predictions, rows, asked.encoders.labels, list(rows["style"]))


def test_the_figures_of_composites_are_what_predict_says_of_them(visitors, asked, evaluation):
    rows = accessories(evaluation)
    composites = Composites(evaluation, rows)
    predictions = asked.predict([composites[i] for i in range(len(composites))])
    rows = rows[composites.usable]
    figures = visitors["composites"]
    assert figures["photographs"] == len(predictions) == len(rows) > 1
    groups = list(rows["group"].astype(str))
    check_share(figures["recognised"], [p.is_fashion for p in predictions], groups)
    for name, column in (("color", "baseColour"), ("product_type", "articleType"), ("season", "season")):
        known = rows[column].isin(asked.encoders.labels[name]).to_numpy()
        right = np.array([p[name].label for p in predictions])[known] == rows[column].to_numpy()[known]
        assert figures["attributes"][name]["accuracy"] == pytest.approx(right.mean())


def test_the_figures_of_everyday_pictures_are_what_predict_says_of_them(visitors, asked, prepared):
    paths = sorted((prepared / "everyday" / "test").iterdir())
    refused = np.array([not p.is_fashion for p in asked.predict(paths)])
    groups = np.array([neighbourhood(path.name) for path in paths])
    assert len(set(groups)) < len(paths)
    check_share(visitors["everyday"]["refused"], refused, groups)
    sources = np.array([path.name.split("-")[0] for path in paths])
    assert set(visitors["everyday"]["by_source"]) == {"grocery", "trashnet"} == set(sources)
    for source, found in visitors["everyday"]["by_source"].items():
        check_share(found, refused[sources == source], groups[sources == source])


def test_composites_are_the_same_from_run_to_run(evaluation, trained_on_all, prepared):
    first = Composites(evaluation, accessories(evaluation))
    again = Composites(Evaluation(trained_on_all, prepared, "test"), accessories(evaluation))
    assert len(first) == len(again) == first.usable.sum() > 1
    for index in reversed(range(len(first))):
        assert first[index].tobytes() == again[index].tobytes() == first[index].tobytes()
        assert max(first[index].size) == COMPOSITE_SIDE
    assert len({first[i].tobytes() for i in range(len(first))}) == len(first)
    alone = accessories(evaluation)[first.usable].iloc[1:2]
    assert Composites(evaluation, alone)[0].tobytes() == first[1].tobytes()  # whatever else is measured


def test_composites_show_the_products_before_grounds_of_their_own_split(evaluation, prepared):
    composites = Composites(evaluation, accessories(evaluation))
    assert len(composites.grounds.textures) == len(list((prepared / "backgrounds" / "test").iterdir()))
    assert len(composites.grounds.photographs) == len(rows_of(prepared, "phone"))
    assert not len(composites.grounds.everyday)
    usable = set(accessories(evaluation)["id"][composites.usable])
    assert {product for product, *_ in composites.products} == usable
    sharp = {int(path.stem) for path in (prepared / "sharp" / "images").iterdir()}
    assert {picture.shape[0] for product, picture, _ in composites.products if product in sharp} <= {240}
    for index in range(len(composites)):
        view = np.asarray(composites[index])
        assert (view > 250).all(axis=2).mean() < 0.3  # the catalogue's white is gone


def moved(prepared, folder, *kinds):
    """A data folder with the catalogue and some of the other kinds."""
    folder.mkdir()
    for name in ("cleaned_styles.csv", "images", *kinds):
        source = prepared / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    return folder


@pytest.mark.parametrize("kinds", [(), ("everyday",), ("phone", "backgrounds")])
def test_what_has_not_been_prepared_is_not_measured(prepared, trained_on_all, tmp_path, kinds):
    data = moved(prepared, tmp_path / "data", *kinds)
    found = visitor_metrics(Evaluation(trained_on_all, data, "test"))
    assert list(found) == [{"backgrounds": "composites"}.get(kind, kind) for kind in kinds]


def test_a_split_without_phone_photographs_is_not_measured_on_them(prepared, trained_on_all, tmp_path):
    data = moved(prepared, tmp_path / "data", "phone")
    rows_of(data, "phone", "train").to_csv(data / "phone" / "phone.csv", index=False)
    assert visitor_metrics(Evaluation(trained_on_all, data, "test")) == {}


def test_without_accessories_there_are_no_composites(prepared, trained_on_all, tmp_path):
    data = moved(prepared, tmp_path / "data", "backgrounds")
    table = pd.read_csv(data / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    table.loc[table["split"] == "test", "masterCategory"] = "Apparel"
    table.to_csv(data / "cleaned_styles.csv", index=False)
    assert visitor_metrics(Evaluation(trained_on_all, data, "test")) == {}


def test_accessories_that_cannot_be_cut_out_are_left_out(prepared, trained_on_all, tmp_path):
    data = moved(prepared, tmp_path / "data", "backgrounds")
    evaluation = Evaluation(trained_on_all, data, "test")
    rows = accessories(evaluation)
    before = Composites(evaluation, rows)
    victim = rows["id"][before.usable].iloc[0]
    path = data / "images" / f"{victim}.jpg"
    Image.new("RGB", open_image(path).size, "gray").save(path)
    after = Composites(evaluation, rows)
    assert after.usable.sum() == before.usable.sum() - 1
    assert victim not in {product for product, *_ in after.products}
    kept = [product for product, *_ in before.products]
    assert after[0].tobytes() == before[kept.index(after.products[0][0])].tobytes()


def test_a_source_whose_name_begins_another_is_counted_by_itself(prepared, trained_on_all, tmp_path):
    data = moved(prepared, tmp_path / "data")
    folder = data / "everyday" / "test"
    folder.mkdir(parents=True)
    for number, source in enumerate(("book", "bookshelf", "bookshelf", "book", "bookshelf")):
        Image.new("RGB", (40, 40), "gray").save(folder / f"{source}-{number}.jpg")
    found = visitor_metrics(Evaluation(trained_on_all, data, "test"))["everyday"]
    assert {source: of["photographs"] for source, of in found["by_source"].items()} == {"book": 2, "bookshelf": 3}
    assert found["refused"]["photographs"] == 5


@pytest.mark.parametrize(
    "kind", ["backgrounds/test", "everyday/test", "phone/images", "on_model/images", "sharp/images"]
)
def test_a_damaged_picture_is_named(prepared, trained_on_all, tmp_path, capsys, kind):
    data = moved(prepared, tmp_path / "data", *{kind.split("/")[0], "backgrounds"})
    measured = None
    if kind.startswith(("phone", "on_model")):
        name = kind.split("/")[0]
        measured = {image.removesuffix(".jpg") for image in rows_of(data, name)["image"]}
    if kind.startswith("sharp"):
        table = pd.read_csv(data / "cleaned_styles.csv", dtype=str)
        table = table[(table["split"] == "test") & (table["masterCategory"] == "Accessories")]
        measured = set(table["id"])
    picture = next(p for p in sorted((data / kind).iterdir()) if measured is None or p.stem in measured)
    picture.write_bytes(picture.read_bytes()[:150])
    arguments = ["evaluate", "--checkpoint", str(trained_on_all), "--data", str(data)]
    assert main([*arguments, "--output", str(tmp_path / "metrics.json")]) == 2
    assert f"evaluate: {picture}: The image is damaged or cut off." in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()


def test_the_tables_and_the_card_tell_of_every_kind(trained_on_all, prepared, tmp_path, capsys):
    checkpoint = shutil.copytree(trained_on_all, tmp_path / "checkpoint")
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(prepared)]) == 0
    printed = capsys.readouterr().out
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    visitors = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))["visitors"]
    assert list(visitors) == ["phone", "on_model", "composites", "everyday"]
    shares = (
        visitors["phone"]["attributes"]["color"]["accuracy"],
        visitors["phone"]["coarse_label"]["share"],
        visitors["on_model"]["bags and watches"]["recognised"]["share"],
        visitors["composites"]["attributes"]["product_type"]["accuracy"],
        visitors["everyday"]["refused"]["share"],
    )
    for text in (printed, card):
        assert f"by {visitors['phone']['contributors']} people" in text
        assert all(f"{100 * share:.1f} (" in text for share in shares)


def test_the_grounds_of_the_tests_are_all_used_by_some_split(prepared):
    dealt = [path.name for path in prepared.glob("backgrounds/*/*.jpg")]
    assert sorted(dealt) == sorted(path.name for path in BACKGROUNDS.iterdir())
