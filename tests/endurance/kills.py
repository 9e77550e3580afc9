"""SIGKILL at random moments: every file is the old one or the new one, and going on gives the promised result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from fashion_model import FashionClassifier
from tests.conftest import ATTRIBUTES, DATA, LISTENER, PRODUCTS, contents, discriminating_model, saved_model
from tests.endurance.processes import finished, kill_often, run
from tests.hub import Hub

TIMES = 9  # of each of six commands
PHOTOGRAPHS = 1500
FIT = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "64", "64", "--batch-size", "8")


def measure(folder: Path) -> str:
    checkpoint = saved_model(discriminating_model(ATTRIBUTES), folder / "checkpoint")
    prepared = folder / "prepared"
    killed = {
        "preparing data": preparing(folder, prepared),
        "batch prediction": predicting(folder, checkpoint),
        "training": training(folder, prepared),
        "finishing": finishing(folder, prepared),
        "downloading": downloading(folder, checkpoint),
    }
    assert sum(killed.values()) >= 50
    lines = [f"- {what}: killed {times} times" for what, times in killed.items()]
    return "\n".join([*lines, f"\n{sum(killed.values())} kills; no file was damaged, no row lost or repeated."])


def preparing(folder: Path, prepared: Path) -> int:
    command = ("-m", "data_prep.clean_data", "--source", PRODUCTS, "--output")
    seconds = run([*command, prepared])
    expected = contents(prepared)

    def old_or_new() -> None:
        found = finished(folder / "again")
        assert found.items() <= expected.items()

    killed = kill_often([*command, folder / "again"], TIMES, old_or_new, seconds, folder / "again")
    run([*command, folder / "again"])
    assert contents(folder / "again") == expected, "an unfinished file was left"
    return killed


def predicting(folder: Path, checkpoint: Path) -> int:
    photographs, source = folder / "photographs", sorted((DATA / "phone").glob("*.jpg"))
    photographs.mkdir()
    for number in range(PHOTOGRAPHS):
        (photographs / f"{number:05}.jpg").symlink_to(source[number % len(source)])
    command = ("-m", "fashion_model", "predict", photographs, "--checkpoint", checkpoint, "--output")
    seconds = run([*command, folder / "expected.jsonl"])
    output = folder / "rows.jsonl"

    def no_row_twice() -> None:
        if output.is_file():
            files = [json.loads(line)["file"] for line in output.read_bytes().split(b"\n")[:-1]]
            assert len(set(files)) == len(files)

    killed = kill_often([*command, output, "--resume"], TIMES, no_row_twice, seconds, output)
    run([*command, output, "--resume"])
    assert output.read_bytes() == (folder / "expected.jsonl").read_bytes()
    return killed


def training(folder: Path, prepared: Path) -> int:
    command: Sequence[str | Path] = ("-m", "train", "fit", "--data", prepared, *FIT, "--epochs", "6", "--output")
    trained, again = folder / "trained", folder / "trained-again"
    seconds = run([*command, trained])

    def loads() -> None:
        if (again / "model.safetensors").is_file() and (again / "config.json").is_file():
            FashionClassifier.from_pretrained(again)

    killed = kill_often([*command, again, "--resume"], TIMES, loads, seconds, again)
    run([*command, again, "--resume"])
    for file in ("model.safetensors", "config.json", "label_encoders.json", "trained_on.txt"):
        assert (again / file).read_bytes() == (trained / file).read_bytes(), file
    return killed


def finishing(folder: Path, prepared: Path) -> int:
    """Calibration and evaluation, which change the checkpoint of `training`."""
    killed = 0
    once, again = (shutil.copytree(folder / "trained", folder / name) for name in ("finished", "finished-again"))
    for name in ("calibrate", "evaluate"):
        command = ("-m", "train", name, "--data", prepared, "--workers", "0", "--checkpoint")
        seconds = run([*command, once])
        predictions = again / "predictions"
        predictions.mkdir(exist_ok=True)
        killed += kill_often(
            [*command, again], TIMES, lambda: FashionClassifier.from_pretrained(again), seconds, predictions
        )
        run([*command, again])
        assert (again / "config.json").read_bytes() == (once / "config.json").read_bytes()
    assert (again / "metrics.json").read_bytes() == (once / "metrics.json").read_bytes()
    return killed


DOWNLOAD = """
import sys
from fashion_model import FashionClassifier
FashionClassifier.from_pretrained("user/classifier", cache_dir=sys.argv[1])
"""


def downloading(folder: Path, checkpoint: Path) -> int:
    cache = folder / "cache"
    with Hub(LISTENER).running() as hub:
        hub.add("model", "user/classifier", contents(checkpoint))
        command = ("-c", DOWNLOAD)
        seconds = run([*command, folder / "first-cache"])
        expected = contents(checkpoint)

        def whole_files() -> None:
            for snapshot in (cache / "models--user--classifier" / "snapshots").glob("*"):
                assert finished(snapshot).items() <= expected.items()

        hub.before = lambda request: time.sleep(0.2)  # so that most of the time is the download's
        killed = kill_often([*command, cache], TIMES, whole_files, seconds, cache)
        run([*command, cache])
    (snapshot,) = (cache / "models--user--classifier" / "snapshots").iterdir()
    assert contents(snapshot) == expected
    return killed
