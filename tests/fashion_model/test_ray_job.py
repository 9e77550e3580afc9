"""The same rows from a local Ray cluster of two workers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from fashion_model.__main__ import main
from tests.conftest import PRODUCTS, ROOT

pytest.importorskip("ray")
from fashion_model.ray_job import _named

PATHS = sorted((PRODUCTS / "images").iterdir())
NICE = {"RAY_worker_niceness": "0", "PYTHONWARNINGS": "ignore"}  # Ray gives workers a low priority


@pytest.fixture
def photographs(tmp_path):
    """Several blocks of them, and two that cannot be read."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(200):
        shutil.copyfile(PATHS[number % len(PATHS)], folder / f"{number:03} ß.jpg")
    (folder / "empty.jpg").touch()
    (folder / "letter.png").write_text("Dear Sir")
    return folder


def command(checkpoint, *arguments):
    return [sys.executable, "-m", "fashion_model", "predict", "--checkpoint", str(checkpoint), *map(str, arguments)]


def with_ray(checkpoint, output, *sources):
    engine = ("--engine", "ray", "--workers", "2", "--output", output)
    return subprocess.Popen(
        command(checkpoint, *sources, *engine), cwd=ROOT, env=os.environ | NICE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]


def labelling(job):
    """The process ids of its workers that have photographs in hand."""

    def status(process):
        return dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)

    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, parent = (process / "cmdline").read_bytes(), Path("/proc") / status(process)["PPid"]
            if title.startswith(b"ray::") and b"submit" in title and int(status(parent)["PPid"]) == job:
                found.append(int(process.name))
        except (OSError, KeyError):
            continue  # it has ended
    return found


def rows_in(path):
    rows = pd.read_parquet(path).sort_values("file", ignore_index=True)
    return rows.assign(file=rows["file"].str.rpartition("/")[2])


def assert_same(found, expected):
    confidences = [column for column in expected if column.endswith("_confidence")]
    pd.testing.assert_frame_equal(found.drop(columns=confidences), expected.drop(columns=confidences))
    pd.testing.assert_frame_equal(found[confidences], expected[confidences], atol=1.1e-4)  # the last digit


@pytest.mark.slow
def test_ray_writes_the_rows_of_the_local_engine_and_a_killed_worker_loses_none(photographs, tiny_checkpoint, tmp_path):
    assert (
        main(["predict", "--checkpoint", str(tiny_checkpoint), str(photographs), "--output", f"{tmp_path}/l.parquet"])
        == 0
    )
    expected = rows_in(tmp_path / "l.parquet")
    assert expected["error"].notna().sum() == 2

    output = tmp_path / "ray.parquet"
    job = with_ray(tiny_checkpoint, output, photographs)
    while not (workers := labelling(job.pid)):
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.02)
    os.kill(workers[0], signal.SIGKILL)
    finished(job)
    assert_same(rows_in(output), expected)


@pytest.mark.slow
def test_a_data_set_of_hugging_face_is_read(tiny_checkpoint, tmp_path):
    contents = [*(path.read_bytes() for path in PATHS[:5]), b"no image"]
    names = [f"{number}.jpg" for number in range(6)]
    images = [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]
    pyarrow.parquet.write_table(pa.table({"image": images, "price": range(6)}), tmp_path / "images.parquet")
    output = tmp_path / "rows.parquet"
    finished(with_ray(tiny_checkpoint, output, tmp_path / "images.parquet"))
    rows = rows_in(output)
    assert list(rows["file"]) == names
    assert list(rows["error"].notna()) == [False] * 5 + [True]


def test_tables_of_bytes_are_read_and_others_refused():
    found = _named(pa.table({"bytes": [b"1", b"2"], "path": ["ä.jpg", None]}))
    assert found.to_pylist() == [{"path": "ä.jpg".encode(), "bytes": b"1"}, {"path": b"", "bytes": b"2"}]
    with pytest.raises(ValueError, match="no column bytes or image; they have price"):
        _named(pa.table({"price": [1]}))


def test_what_ray_cannot_do_is_said_before_it_starts(tiny_checkpoint, tmp_path, capsys):
    def refused(*arguments):
        assert (
            main(["predict", str(PATHS[0]), "--checkpoint", str(tiny_checkpoint), "--engine", "ray", *arguments]) == 2
        )
        return capsys.readouterr().err

    assert "has to end in .parquet" in refused("--output", str(tmp_path / "rows.csv"))
    (tmp_path / "old.parquet").touch()
    assert "exists already" in refused("--output", str(tmp_path / "old.parquet"))
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(PATHS[0]), "--engine", "ray"])
    assert "--engine ray needs an --output" in capsys.readouterr().err
