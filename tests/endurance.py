"""Kill commands at random moments for half an hour: python -m tests.endurance."""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import conftest  # first: no request leaves this machine

# isort: split
from fashion_model import FashionClassifier
from tests.hub import Hub

KILLS = 9  # of each command
FIT = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "64", "64", "--batch-size", "8")
DOWNLOAD = """import sys; from fashion_model import FashionClassifier
FashionClassifier.from_pretrained("user/classifier", cache_dir=sys.argv[1])"""


def kills(folder):
    """SIGKILL at random moments: every file is the old one or the new one, and going on gives the promised result."""
    checkpoint = conftest.saved_model(conftest.discriminating_model(conftest.ATTRIBUTES), folder / "checkpoint")
    photographs = folder / "photographs"
    photographs.mkdir()
    for number, path in enumerate(100 * sorted(conftest.PHONE.glob("*.jpg"))):
        (photographs / f"{number:05}.jpg").symlink_to(path)
    prepared = killed(folder / "prepared", "-m", "data_prep", "catalogue", "--source", conftest.PRODUCTS, "--output")
    command = ("-m", "fashion_model", "predict", photographs, "--checkpoint", checkpoint, "--output")
    killed(folder / "rows.jsonl", *command, resume=["--resume"], check=no_row_twice)
    command = ("-m", "train", "fit", "--data", prepared, *FIT, "--epochs", "6", "--epoch-views", "64", "--output")
    weights = ("model.safetensors", "config.json", "label_encoders.json", "trained_on.txt")
    killed(folder / "trained", *command, resume=["--resume"], check=loads, files=weights)
    with Hub(conftest.LISTENER).running() as hub:
        hub.add("model", "user/classifier", conftest.contents(checkpoint))
        hub.before = lambda request: time.sleep(1)  # so that most of the time is the download's
        killed(folder / "cache", "-c", DOWNLOAD, files=tuple(conftest.contents(checkpoint)))
    return f"Four commands were killed {KILLS} times each; no file was damaged, no row lost or repeated."


def killed(output, *command, resume=(), check=None, files=("",)):
    """Kill a command that writes `output` at random moments, and let it end.

    Each kill leaves old and new files only, or what `check` accepts; at the end the files whose names end with `files`
    are those of an undisturbed run. Returns what that run wrote.
    """
    undisturbed = output.with_name(f"undisturbed-{output.name}")
    command = [sys.executable, *map(str, command)]
    began = time.monotonic()
    subprocess.run([*command, undisturbed], cwd=conftest.ROOT, check=True, stdout=-3)
    seconds, moments, count = time.monotonic() - began, random.Random(0), 0
    expected = written(undisturbed, files)
    while count < KILLS:
        with subprocess.Popen([*command, output, *resume], cwd=conftest.ROOT, stdout=-3, stderr=-3) as process:
            try:
                assert process.wait(moments.uniform(0.3, 1.0) * seconds) == 0
                shutil.rmtree(output) if output.is_dir() else output.unlink()
            except subprocess.TimeoutExpired:
                process.kill()
                count += 1
        if check:
            check(output)
        else:
            for name, content in written(output, files).items():
                assert name.endswith(".unfinished") or content == expected[name]
    subprocess.run([*command, output, *resume], cwd=conftest.ROOT, check=True, stdout=-3)
    assert written(output, files) == expected
    return undisturbed


def written(path, files):
    """Name → content."""
    files_of_path = {"": path.read_bytes()} if path.is_file() else conftest.contents(path)
    return {name: content for name, content in files_of_path.items() if name.endswith(files)}


def no_row_twice(path):
    rows = path.read_text().splitlines()[:-1] if path.is_file() else []
    assert len({row.split(",")[0] for row in rows}) == len(rows)


def loads(path):
    if all((path / name).is_file() for name in ("model.safetensors", "config.json", "label_encoders.json")):
        FashionClassifier.from_pretrained(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(kills(Path(scratch)))
