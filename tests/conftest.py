"""Shared parts. Caches are redirected before any import reads them, and nothing leaves this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

from tests.hub import TOKEN, USER, Hub, listener

SCRATCH = tempfile.TemporaryDirectory(prefix="fashion-tests-")
for variable, folder in {"HF_HOME": "hf", "GRADIO_TEMP_DIR": "gradio", "MPLCONFIGDIR": "matplotlib"}.items():
    os.environ[variable] = str(Path(SCRATCH.name) / folder)
LISTENER = listener()  # whoever asks the Hub in these tests asks loopback; until a test starts it, nobody is at home
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{LISTENER.getsockname()[1]}", "HF_HUB_DISABLE_XET": "1"}
os.environ |= {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
for variable in ("FASHION_MODEL", "FASHION_MODEL_TIMEOUT", "HF_TOKEN", "HF_HUB_OFFLINE"):
    os.environ.pop(variable, None)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from huggingface_hub import set_client_factory  # noqa: E402
from huggingface_hub.utils import _http as hub_requests  # noqa: E402
from huggingface_hub.utils._http import default_client_factory  # noqa: E402

from data_prep import clean_data, more_pictures, other_pictures, phone_photographs  # noqa: E402
from data_prep.splits import TEST, TRAIN, VALIDATION  # noqa: E402
from fashion_model import FashionClassifier  # noqa: E402
from fashion_model.attributes import NAMES, LabelEncoders  # noqa: E402
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, save_checkpoint  # noqa: E402
from fashion_model.images import open_image  # noqa: E402
from fashion_model.model import ModelConfig, MultiTaskClassifier  # noqa: E402
from train.__main__ import main as train_main  # noqa: E402
from train.evaluation import digest_of  # noqa: E402

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
PRODUCTS, TEST_SPLIT = DATA / "products", DATA / "test_split"
PHONE, EVERYDAY, BACKGROUNDS = DATA / "phone", DATA / "everyday", DATA / "backgrounds"
SPLITS = (TEST, VALIDATION, TRAIN)


def pytest_unconfigure():
    SCRATCH.cleanup()


@pytest.fixture(scope="session")
def classifier():
    """The embedded default."""
    return FashionClassifier.from_pretrained()


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory):
    """What `data_prep.clean_data` writes for the tests' real rows."""
    folder = tmp_path_factory.mktemp("cleaned")
    assert clean_data.main(["--source", str(PRODUCTS), "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def prepared(cleaned, tmp_path_factory):
    """The same rows, with every other kind of picture that data_prep can add, some in each split."""
    folder, sources = tmp_path_factory.mktemp("prepared") / "data", tmp_path_factory.mktemp("sources")
    shutil.copytree(cleaned, folder, ignore=shutil.ignore_patterns("decoded"))
    table = pd.read_csv(folder / "cleaned_styles.csv")
    enlarge(folder, table["id"][::2], sources / "sharp", "{}.jpg")
    assert phone_photographs.main(["--source", str(PHONE), "--output", str(folder)]) == 0
    pictures = {"sharp": sources / "sharp", "on-model": on_model_source(table, folder, sources / "on_model")}
    pictures |= {"everyday": EVERYDAY, "backgrounds": BACKGROUNDS}
    options = [word for name, source in pictures.items() for word in (f"--{name}", str(source))]
    assert more_pictures.main(["--output", str(folder), *options]) == 0
    deal_contributors(folder / "phone" / "phone.csv")
    deal_files(folder / "everyday")
    deal_files(folder / "backgrounds")
    drawn = folder / other_pictures.FOLDER / TRAIN
    drawn.mkdir(parents=True)
    for kind, paint in other_pictures.PAINTERS.items():
        paint(np.random.default_rng(0)).save(drawn / f"{kind}-0.jpg")
    return folder


def enlarge(data, products, folder, name):
    """Thumbnails of `products` at three times their size, which stand in for sharp photographs."""
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


def deal_contributors(path):
    """Give each split some of those whose photographs are in the table; all of them are of the test split."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    counts = table["sender"].value_counts()
    order = sorted(counts.index, key=lambda sender: (-counts[sender], sender))
    table["split"] = [SPLITS[order.index(sender) % 3] for sender in table["sender"]]
    table.to_csv(path, index=False)


def deal_files(folder):
    """Give each split some of the pictures in the folders of all splits."""
    for place, path in enumerate(sorted(folder.glob("*/*.jpg"), key=lambda path: path.name)):
        moved = folder / SPLITS[place % 3] / path.name
        moved.parent.mkdir(exist_ok=True)
        path.rename(moved)


HOSTILE = "<script>alert('|')</script> & `*_[x](http://127.0.0.1)_*`"  # a label as anyone may write it into a table


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """Cleaned data of the real test photographs: 98 to measure on, ten labelled `HOSTILE`, two of one picture."""
    folder = tmp_path_factory.mktemp("measured")
    assert clean_data.main(["--source", str(TEST_SPLIT), "--output", str(folder)]) == 0
    table = pd.read_csv(folder / "cleaned_styles.csv", dtype=str, keep_default_na=False)
    table["split"] = ["train"] * 20 + ["validation"] * 10 + ["test"] * (len(table) - 30)
    table.loc[table.index[40:50], "baseColour"] = HOSTILE
    table.loc[60:61, "group"] = table.loc[60, "group"]
    table.loc[60:61, "baseColour"] = ["Red", "Black"]
    table.to_csv(folder / "cleaned_styles.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def mistaken(measured, tmp_path_factory):
    """Sharp photographs of the ten validation products of `measured`: each is another product's, so answers differ."""
    folder = tmp_path_factory.mktemp("sharp")
    (folder / "images").mkdir()
    table = pd.read_csv(measured / "cleaned_styles.csv")
    products = table.loc[table["split"] == "validation", "id"]
    for product, other in zip(products, np.roll(products, 1), strict=True):
        open_image(measured / "images" / f"{other}.jpg").resize((180, 240)).save(folder / f"images/{product}.jpg")
    return folder


@pytest.fixture(scope="session")
def reported(measured, tmp_path_factory):
    """What `train report` writes of the embedded default on them."""
    folder = tmp_path_factory.mktemp("report") / "made"
    arguments = ["report", "--checkpoint", str(DEFAULT_CHECKPOINT), "--data", str(measured), "--device", "cpu"]
    assert train_main([*arguments, "--output", str(folder)]) == 0
    return folder


FROM_IMAGENET = ("--weights", "imagenet")


def smoke_fit(data, folder, *more):
    """Arguments of `python -m train` for a run of seconds."""
    network = ("--backbone", "efficientnet_lite0", "--device", "cpu")
    return ["fit", "--data", str(data), "--output", str(folder), "--smoke", *network, *more]


@pytest.fixture(scope="session")
def trained(cleaned, tmp_path_factory):
    """A checkpoint directory that `train fit --smoke` wrote from those rows.

    It began with ImageNet's weights: from random ones so short a run comes to the same answer for all photographs.
    """
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert train_main(smoke_fit(cleaned, folder, *FROM_IMAGENET)) == 0
    return folder


ALL_THE_WAY = (*FROM_IMAGENET, "--heads-steps", "2", "--frozen-stages", "2", "--imagenet-weight", "0.3")


@pytest.fixture(scope="session")
def trained_on_all(prepared, tmp_path_factory):
    """One that saw every kind of picture, trained in all the ways of the default's recipe."""
    folder = tmp_path_factory.mktemp("runs") / "all"
    assert train_main(smoke_fit(prepared, folder, *ALL_THE_WAY)) == 0
    return folder


@pytest.fixture
def tiny_encoders():
    return LabelEncoders({name: tuple(f"{name} {i}" for i in range(3 + n)) for n, name in enumerate(NAMES)})


@pytest.fixture
def tiny_model(tiny_encoders):
    """Random weights, 32 × 24 pixels."""
    torch.manual_seed(0)
    config = ModelConfig.for_backbone("efficientnet_lite0", tiny_encoders.num_classes, image_size=(32, 24))
    return MultiTaskClassifier(config).eval()


def transformer_of(encoders):
    """A Vision Transformer with random weights, for 64 × 48 pixels."""
    torch.manual_seed(0)
    config = ModelConfig.for_backbone("vit_ti_8", encoders.num_classes, image_size=(64, 48))
    return MultiTaskClassifier(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def running_hub():
    with Hub(LISTENER).running() as hub:
        yield hub


@pytest.fixture
def hub(running_hub):
    """The loopback Hub, empty and in order."""
    running_hub.reset()
    yield running_hub
    running_hub.release()


@pytest.fixture
def token(monkeypatch):
    """A user who may write to their own repositories."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return USER


@pytest.fixture
def saved(tmp_path, tiny_model, tiny_encoders):
    """A checkpoint directory with random weights."""
    save_checkpoint(tmp_path / "checkpoint", tiny_model, tiny_encoders)
    return tmp_path / "checkpoint"


def logits(model):
    """Of one picture, for a model of 32 × 24 pixels."""
    with torch.no_grad():
        return torch.cat(list(model(torch.linspace(-1, 1, 3 * 32 * 24).reshape(1, 3, 32, 24)).values()), dim=1)


def contents(folder):
    """What a repository on the Hub holds after `folder` was uploaded."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def take_figures(checkpoint):
    """Let the figures of the embedded default pass for those of `checkpoint`."""
    metrics = json.loads((DEFAULT_CHECKPOINT / "metrics.json").read_text(encoding="utf-8"))
    (checkpoint / "metrics.json").write_text(json.dumps(metrics | {"digest": digest_of(checkpoint)}))


@pytest.fixture
def evaluated(saved):
    """The same with figures and a report. The figures are the embedded default's, which a card takes as they are."""
    take_figures(saved)
    (saved / "figures").mkdir()
    (saved / "figures" / "reliability.png").write_bytes(b"picture")
    for file in ("report.html", "report.md", "slices.csv", "figures/confusion_color.png"):
        (saved / "report" / file).parent.mkdir(parents=True, exist_ok=True)
        (saved / "report" / file).write_bytes(file.encode())
    return saved


@pytest.fixture
def pushing(token, monkeypatch):
    """Pushing sets timeouts for its process; here the process is that of all tests. The user's name.

    Between two tries of a request the client waits a fiftieth of what it else does.
    """
    short = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: time.sleep(seconds / 50)})
    monkeypatch.setattr(hub_requests, "time", short)
    yield token
    set_client_factory(default_client_factory)


@contextmanager
def running_app(folder, **variables):
    """The address of `python app.py` in `folder`, with no way out of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = "http://127.0.0.1:9"  # the discard port: whatever wants to leave through a proxy fails
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
        **variables,
    }
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment) as process:
        try:
            wait_until_answering(address, process)
            yield address
        finally:
            process.terminate()


def wait_until_answering(address, process):
    for _ in range(240):
        assert process.poll() is None, "app.py ended"
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


@pytest.fixture(scope="session")
def served(classifier):
    """The address of the running app."""
    import gradio as gr

    import app

    demo = app.build_demo(classifier)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **app.LAUNCH)
    yield address
    gr.close_all(verbose=False)
