"""Shared fixtures. Caches are redirected before any import reads them, and no request leaves this machine.

Fixtures that need `train` or `data_prep` are in tests/train/conftest.py.
"""

import copy
import getpass
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.request import urlopen

from tests.hub import TOKEN, USER, Hub, listener

SCRATCH = tempfile.TemporaryDirectory(prefix="fashion-tests-")
UPLOADS = f"fashion-model-{os.getuid() if hasattr(os, 'getuid') else getpass.getuser()}"  # as the app calls its folder
for variable, folder in {"HF_HOME": "hf", "GRADIO_TEMP_DIR": UPLOADS, "MPLCONFIGDIR": "matplotlib"}.items():
    os.environ[variable] = str(Path(SCRATCH.name) / folder)
(Path(SCRATCH.name) / UPLOADS).mkdir(mode=0o700)
LISTENER = listener()  # requests to the Hub come here; nothing answers until a test starts the loopback Hub
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{LISTENER.getsockname()[1]}", "GRADIO_ANALYTICS_ENABLED": "False"}
os.environ |= dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
os.environ["OMP_NUM_THREADS"] = "1"  # workers and other processes share the cores; read when torch is imported
if method := os.environ.get("START_METHOD"):  # spawn, as on macOS and Windows, or forkserver, as in Python 3.14
    multiprocessing.set_start_method(method, force=True)  # a spawned worker that imports this has one already
for variable in ("FASHION_MODEL", "FASHION_MODEL_TIMEOUT", "HF_TOKEN", "HF_HUB_OFFLINE"):
    os.environ.pop(variable, None)

import pytest  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from fashion_model import FashionClassifier  # noqa: E402
from fashion_model.attributes import Attribute, LabelEncoders  # noqa: E402
from fashion_model.checkpoint import Checkpoint, save_checkpoint, save_finder  # noqa: E402
from fashion_model.images import open_image  # noqa: E402
from fashion_model.models.config import FinderConfig, ModelConfig  # noqa: E402
from fashion_model.models.finder import Finder  # noqa: E402
from fashion_model.models.multitask import MultiTaskClassifier  # noqa: E402

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
SEVERAL = ROOT / "fashion_model" / "examples" / "street-1-outfit.jpg"
PRODUCTS, TEST_SPLIT = DATA / "products", DATA / "test_split"
PHONE, STREET, EVERYDAY, BACKGROUNDS = (DATA / name for name in ("phone", "street", "everyday", "backgrounds"))

ATTRIBUTES = (
    Attribute("color", "baseColour", "Color"),
    Attribute("product_type", "articleType", "Product type"),
    Attribute("season", "season", "Season of use"),
    Attribute("gender", "gender", "Target gender"),
)
NAMES = tuple(attribute.name for attribute in ATTRIBUTES)
USAGE = Attribute("usage", "usage", "Usage")
GROUPS = {"footwear": ("Heels", "Flats"), "bag": ("Handbags",)}  # of finders
TINY = "test_efficientnet"  # timm's, with 0.1 million parameters


def pytest_unconfigure():
    SCRATCH.cleanup()


@pytest.fixture(scope="session")
def classifier():
    """The embedded default."""
    return FashionClassifier.from_pretrained()


def encoders_of(attributes):
    """Three classes for the first attribute, and one more for each that follows."""
    return LabelEncoders({a.name: tuple(f"{a.name} {i}" for i in range(3 + n)) for n, a in enumerate(attributes)})


def random_model(backbone=TINY, attributes=ATTRIBUTES, image_size=(64, 64), **settings):
    """Random weights, the same in every call, in evaluation mode."""
    torch.manual_seed(0)
    classes = encoders_of(attributes).num_classes
    config = ModelConfig.for_backbone(backbone, attributes, classes, image_size=image_size, **settings)
    return MultiTaskClassifier(config).eval()


@cache
def discriminating_model(attributes):
    """A tiny model with random weights whose predictions differ between photographs."""
    model = random_model(attributes=attributes)
    photographs = [open_image(path) for path in sorted((PRODUCTS / "images").iterdir())]
    with torch.no_grad():
        mean = model.features(torch.stack([model.config.preprocessing(image) for image in photographs])).mean(dim=0)
        for linear in model.heads.linear.values():
            linear.weight.mul_(1000)
            linear.bias.copy_(-linear.weight @ mean)
    return model


def saved_model(model, folder):
    save_checkpoint(folder, model, encoders_of(model.config.attributes))
    return folder


@pytest.fixture
def tiny_encoders():
    return encoders_of(ATTRIBUTES)


@pytest.fixture
def tiny_model():
    """Random weights, the four usual attributes, 64 × 64 pixels."""
    return copy.deepcopy(discriminating_model(ATTRIBUTES))


@pytest.fixture
def tiny_checkpoint(tmp_path_factory, tiny_model):
    """The directory of its checkpoint."""
    return saved_model(tiny_model, tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture
def tiny_classifier(tiny_model, tiny_encoders):
    return FashionClassifier(Checkpoint(tiny_model, tiny_encoders, "tiny"))


def checkpoint_with_finder(folder, threshold):
    """A checkpoint with random weights, whose finder is returned."""
    model = random_model(fashion_threshold=-1.0)
    finder = Finder(model.backbone, FinderConfig(GROUPS, threshold=threshold, side=192, channels=32, convolutions=1))
    nn.init.constant_(finder.head.regression_head.bbox_reg.bias, 2.0)  # no empty boxes
    for counter in (tensor for key, tensor in finder.state_dict().items() if key.endswith("num_batches_tracked")):
        counter.fill_(100_000)  # more than half precision has
    saved_model(model, folder)
    save_finder(folder, finder)
    return finder


@pytest.fixture(scope="session")
def running_hub():
    with Hub(LISTENER).running() as hub:
        yield hub


@pytest.fixture
def hub(running_hub):
    """The loopback Hub, empty and without faults."""
    running_hub.reset()
    return running_hub


@pytest.fixture
def token(monkeypatch):
    """A user who may write to their own repositories."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return USER


def logits(model):
    """The logits of all attributes for one image."""
    height, width = model.config.image_size
    image = torch.linspace(-1, 1, 3 * height * width).reshape(1, 3, height, width)
    with torch.no_grad():
        return torch.cat(list(model(image).values()), dim=1)


def contents(folder):
    """What a repository on the Hub holds after `folder` was uploaded."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def free_port():
    """One that no other process takes when it looks for the first free port of a range."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_server(address, process, seconds=120):
    """Wait until `address` answers. AssertionError if the server's process ends before that."""
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError), urlopen(address, timeout=5):
            return
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@contextmanager
def running_app(folder, **variables):
    """The address and the process of `python app.py` in `folder`, with no way out of this machine."""
    port = free_port()
    nowhere = "http://127.0.0.1:9"  # the discard port: a request that leaves through a proxy fails
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "NO_PROXY": "",  # the app reaches itself all the same
        **variables,
    }
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment) as process:
        try:
            wait_for_server(address, process)
            yield address, process
        finally:
            process.terminate()


@contextmanager
def serving(classifier):
    """The address of the page for `classifier`."""
    from fashion_model.app.page import launch

    page, address = launch(classifier, quiet=True, server_port=free_port())
    try:
        yield address
    finally:
        page.close(verbose=False)


@pytest.fixture(scope="session")
def served(classifier):
    """The address of the page for the embedded default."""
    classifier.warm_up()
    with serving(classifier) as address:
        yield address
