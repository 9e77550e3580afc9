"""Fixtures that need `train` or `data_prep`, and what the tests of these share."""

import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from data_prep.splits import TEST, TRAIN, VALIDATION
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.hub import DEFAULT_TIMEOUT, use_client
from fashion_model.images import open_image
from fashion_model.models.backbones import imagenet_state
from tests.conftest import BACKGROUNDS, EVERYDAY, NAMES, PHONE, STREET, TEST_SPLIT
from tests.data_prep import conftest
from tests.data_prep.conftest import made_once, prepare
from train.__main__ import main as train_main
from train.data.domains import PHONE as PHONE_DOMAIN
from train.data.domains import THUMBNAILS, Split
from train.data.table import attributes_named, fit_encoders, read_table, rows_of_split
from train.evaluate.metrics import attribute_metrics, share
from train.evaluate.split_metrics import write_split_metrics
from train.fit.config import FitConfig
from train.fit.start import build_model, read_data
from train.fit.trainer import Trainer

SPLITS = (TRAIN, TEST, VALIDATION)
cleaned = conftest.cleaned  # the same fixture


def run(command, checkpoint, data, *more):
    """The exit status of a command of train."""
    return train_main([command, "--checkpoint", str(checkpoint), "--data", str(data), "--device", "cpu", *more])


@pytest.fixture(scope="session")
def prepared(cleaned, tmp_path_factory):
    """The same products and every other domain, with images in every split."""

    def make(folder):
        sources = tmp_path_factory.mktemp("sources")
        shutil.copytree(cleaned, folder)
        table = pd.read_csv(folder / "cleaned_styles.csv")
        enlarge(folder, table["id"][::2], sources / "high_resolution", "{}.jpg")
        prepare("phone-photographs", folder, "--source", PHONE)
        prepare("street-photographs", folder, "--source", STREET)
        made = ("--on-model", on_model_source(table, folder, sources / "on_model"))
        made += ("--other-sources", other_sources(sources / "other"), "--high-resolution", sources / "high_resolution")
        prepare("photographs", folder, "--everyday", EVERYDAY, "--backgrounds", BACKGROUNDS, *made)
        deal_rows(folder / "phone" / "phone.csv", "sender")
        deal_rows(folder / "worn" / "worn.csv", "photo")
        deal_files(folder / "everyday")
        deal_files(folder / "backgrounds")

    return made_once(tmp_path_factory, "prepared", make)


def enlarge(data, products, folder, name):
    """Thumbnails of `products` at three times their size, which stand in for high-resolution photographs."""
    folder.mkdir(parents=True)
    for product in products:
        open_image(data / "images" / f"{product}.jpg").resize((180, 240)).save(folder / name.format(product))


def on_model_source(table, data, folder):
    """What --on-model reads, of the catalogue's bags, watches and shirts."""
    rows = []
    for published, catalogued, count in (("Bags", "Handbags", 2), ("Watches", "Watches", 2), ("Tshirts", "Tshirts", 6)):
        products = table.loc[table["articleType"] == catalogued, "id"][:count]
        enlarge(data, products, folder / published, "s{}-blue-0.jpg")
        gender = "" if published == "Bags" else "Men"
        rows += [{"file": f"s{i}-blue-0.jpg", "type": published, "color": "blue", "gender": gender} for i in products]
    pd.DataFrame(rows).to_csv(folder / "on-model.csv", index=False)
    return folder


def other_sources(folder):
    """What --other-sources reads: four photographs with a product and three without."""
    folder.mkdir()
    rows = []
    for category, source, count in (("Shirts", PHONE, 4), ("", EVERYDAY, 3)):
        for path in sorted(source.glob("*.jpg"))[:count]:
            shutil.copy(path, folder / f"other-{path.name}")
            rows.append({"image": f"other-{path.name}", "category": category, "gender": "", "source": "somewhere"})
    pd.DataFrame(rows).to_csv(folder / "other-sources.csv", index=False)
    return folder


def deal_rows(path, group):
    """Give each split some groups of the table, the largest group to training; by their hash all are in one split."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    order = table[group].value_counts(sort=False).sort_values(ascending=False, kind="stable").index
    table["split"] = [SPLITS[order.get_loc(name) % 3] for name in table[group]]
    table.to_csv(path, index=False)


def deal_files(folder):
    """Give each split some of the images."""
    for place, path in enumerate(sorted(folder.glob("*/*.jpg"), key=lambda path: path.name)):
        moved = folder / SPLITS[place % 3] / path.name
        moved.parent.mkdir(exist_ok=True)
        path.rename(moved)


HOSTILE = r"$\frac$ <script>alert('1')</script> & `*_[x](http://127.0.0.1)_*`"  # as anyone may name a label


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """Cleaned data of the real test photographs: 98 to measure on, ten labelled `HOSTILE`."""

    def make(folder):
        prepare("catalogue", folder, "--source", TEST_SPLIT)
        table = pd.read_csv(folder / "cleaned_styles.csv", dtype=str, keep_default_na=False)
        table["split"] = ["train"] * 20 + ["validation"] * 10 + ["test"] * (len(table) - 30)
        table.loc[table.index[40:50], "baseColour"] = HOSTILE
        table.to_csv(folder / "cleaned_styles.csv", index=False)

    return made_once(tmp_path_factory, "measured", make)


@pytest.fixture(scope="session")
def reported(measured, tmp_path_factory):
    """The embedded default with a report on them."""

    def make(folder):
        shutil.copytree(DEFAULT_CHECKPOINT, folder)
        assert run("report", folder, measured) == 0

    return made_once(tmp_path_factory, "reported", make) / "report"


BACKBONE = "tf_efficientnet_lite0"


def smoke_fit(data, folder, *more):
    """Arguments of `python -m train` for a run of seconds."""
    network = ("--backbone", BACKBONE, "--device", "cpu")
    return ["fit", "--data", str(data), "--output", str(folder), "--smoke", *network, *more]


@pytest.fixture(scope="session")
def imagenet_file(tmp_path_factory):
    """The ImageNet weights in a file: --smoke starts from random ones, and predicts one class for all images."""
    return made_once(
        tmp_path_factory, "imagenet.safetensors", lambda path: save_file(imagenet_state(BACKBONE, (64, 64)), path)
    )


def fit(data, folder, *more):
    assert train_main(smoke_fit(data, folder, *more)) == 0


@pytest.fixture(scope="session")
def trained(cleaned, imagenet_file, tmp_path_factory):
    """A checkpoint directory that `train fit --smoke` wrote from those rows."""
    weights = ("--weights", str(imagenet_file))
    return made_once(tmp_path_factory, "trained", lambda folder: fit(cleaned, folder, *weights))


@pytest.fixture(scope="session")
def all_the_way(imagenet_file):
    """Options of a run with linear probing and frozen stages; its first epoch does not depend on their number."""
    probe = ("--linear-probe-steps", "2", "--frozen-stages", "1", "--cooldown-epochs", "0")
    return ["--weights", str(imagenet_file), *probe]


@pytest.fixture(scope="session")
def trained_on_all(prepared, all_the_way, tmp_path_factory):
    """A checkpoint trained on every domain."""
    return made_once(tmp_path_factory, "trained_on_all", lambda folder: fit(prepared, folder, *all_the_way))


@pytest.fixture(scope="session")
def evaluated_on_all(trained_on_all, prepared, tmp_path_factory):
    """The same, evaluated on the validation and test splits."""

    def make(folder):
        shutil.copytree(trained_on_all, folder)
        assert all(run("evaluate", folder, prepared, "--split", split) == 0 for split in (VALIDATION, TEST))

    return made_once(tmp_path_factory, "evaluated_on_all", make)


def config_of(data="data", output="run", **settings):
    return FitConfig(Path(data), Path(output), **settings)


def trainer_for(data, output, **settings):
    """A small trainer before its first step, and its data."""
    small = {"image_size": (64, 64), "batch_size": 16, "epoch_views": 64, "epochs": 20}
    network = {"backbone": BACKBONE, "weights": "none", "device": "cpu", "workers": 0}
    config = config_of(data, output, **small | network | settings)
    torch.manual_seed(config.seed)
    fit_data = read_data(config)
    model, _, _ = build_model(config, fit_data)
    return Trainer(config, model, fit_data.training_set), fit_data


def split_of(data, name):
    """A split of the prepared data, with the labels of the training rows."""
    table, attributes = read_table(data), attributes_named(NAMES)
    encoders = fit_encoders(rows_of_split(table, TRAIN), attributes)
    return Split(data, name, rows_of_split(table, name), attributes, encoders)


@pytest.fixture
def evaluated(tiny_checkpoint):
    """A checkpoint directory with a report and metrics of the test split, of eight images in two domains."""
    labels = np.eye(3, dtype=bool)[[0, 0, 0, 0, 0, 1, 1, 2]]
    of_attribute = attribute_metrics(np.tile([0.6, 0.3, 0.1], (8, 1)), labels, range(8))
    of_domain = {"images": 8, "groups": 8, "is_fashion": True, "recognized": share(labels[:, 0], range(8))}
    of_domain["attributes"] = dict.fromkeys(NAMES, of_attribute)
    domains = dict.fromkeys((PHONE_DOMAIN, THUMBNAILS), of_domain)
    write_split_metrics(tiny_checkpoint, TEST, {"rows_left_out": 0, "trained_on_known": True, "domains": domains})
    for file in ("figures/reliability_color.png", "report/report.html", "report/slices.csv", "training/state.pt"):
        (tiny_checkpoint / file).parent.mkdir(parents=True, exist_ok=True)
        (tiny_checkpoint / file).write_bytes(file.encode())
    return tiny_checkpoint


@pytest.fixture
def pushing(token, monkeypatch):
    """The user's name. Between two tries of a request the client waits a fiftieth of its usual time."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 50))
    yield token
    use_client(DEFAULT_TIMEOUT)  # in place of that of the push
