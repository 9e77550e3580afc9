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
from fashion_model.rows import OutputError
from tests.conftest import PRODUCTS, ROOT

pytest.importorskip("ray")
from fashion_model.ray_job import check_columns, with_names

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
    confidences = [column for column in expected if column.endswith(("_confidence", "_score"))]
    pd.testing.assert_frame_equal(found.drop(columns=confidences), expected.drop(columns=confidences))
    pd.testing.assert_frame_equal(found[confidences], expected[confidences], atol=1.1e-4)  # the last digit


@pytest.mark.slow
def test_a_killed_worker_of_ray_loses_no_row(photographs, tiny_checkpoint, tmp_path):
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
def test_tables_of_images_are_read_by_ray(tiny_checkpoint, tmp_path):
    """Of Hugging Face's data sets, and of plain bytes with numbers; the columns are checked before the job starts."""
    contents = [*(path.read_bytes() for path in PATHS[:5]), b"no image"]
    names = [f"{number}.jpg" for number in range(6)]
    structs = [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]
    for kind, columns in (("structs", {"image": structs}), ("plain", {"image": contents, "id": range(6)})):
        pyarrow.parquet.write_table(pa.table(columns), tmp_path / f"{kind}.parquet")
        finished(with_ray(tiny_checkpoint, tmp_path / f"rows of {kind}.parquet", tmp_path / f"{kind}.parquet"))
    for kind, expected in (("structs", names), ("plain", list("012345"))):
        rows = rows_in(tmp_path / f"rows of {kind}.parquet")
        assert list(rows["file"]) == expected
        assert list(rows["error"].notna()) == [False] * 5 + [True]
    pyarrow.parquet.write_table(pa.table({"price": [1]}), tmp_path / "prices.parquet")
    refused = with_ray(tiny_checkpoint, tmp_path / "no.parquet", tmp_path / "prices.parquet")
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode == 2
    assert "no images in a column bytes or image; they have price (int64)" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"bytes": [b"1", b"2"], "path": ["ä.jpg", None]}, ["ä.jpg", "04e42a6ee7a9"]),
        ({"image": [b"1", b"2"], "id": [7, 108775015]}, ["7", "108775015"]),
        ({"image": [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": "b"}], "id": ["007", "8"]}, ["007", "b"]),
        ({"image": [b"1", b"2"]}, ["ebbc39aaf008", "04e42a6ee7a9"]),
    ],
)
def test_images_in_tables_have_names(columns, names):
    table = pa.table(columns)
    check_columns(dict(zip(table.schema.names, table.schema.types, strict=True)))
    found = with_names(table)
    assert [path.decode() for path in found["path"].to_pylist()] == names
    assert found["bytes"].to_pylist() == [b"1", b"2"]


@pytest.mark.parametrize("columns", [{"price": [1]}, {"image": [1]}, {"bytes": ["text"]}, {"image": [{"path": "x"}]}])
def test_tables_without_images_are_refused(columns):
    schema = pa.table(columns).schema
    with pytest.raises(OutputError, match="no images in a column bytes or image; they have"):
        check_columns(dict(zip(schema.names, schema.types, strict=True)))


def test_what_ray_cannot_do_is_said_at_once(tiny_checkpoint, tmp_path, capsys):
    def refused(*arguments):
        assert (
            main(["predict", str(PATHS[0]), "--checkpoint", str(tiny_checkpoint), "--engine", "ray", *arguments]) == 2
        )
        return capsys.readouterr().err

    assert "has to end in .parquet" in refused("--output", str(tmp_path / "rows.csv"))
    (tmp_path / "old.parquet").touch()
    assert "exists already" in refused("--output", str(tmp_path / "old.parquet"))
