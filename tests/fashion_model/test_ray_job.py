"""The same rows from a local Ray cluster of two workers."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from fashion_model.__main__ import main
from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from fashion_model.rows import OutputError
from tests.conftest import PRODUCTS, ROOT, SEVERAL

pytest.importorskip("ray")
import ray

from fashion_model.ray_job import check_columns, photographs_in, with_names

PATHS = sorted((PRODUCTS / "images").iterdir())
# Ray gives workers a low priority.
NICE = {"RAY_worker_niceness": "0", "PYTHONWARNINGS": "ignore", "RAY_USAGE_STATS_ENABLED": "0"}
LOCAL = {"num_cpus": 2, "include_dashboard": False, "_node_ip_address": "127.0.0.1", "log_to_driver": False}


def arguments(checkpoint, output, source, *more, workers=1):
    options = ["--checkpoint", checkpoint, "--engine", "ray", "--workers", workers, "--output", output]
    return ["predict", *map(str, [source, *options, *more])]


@pytest.fixture(scope="module")
def cluster():
    """One that is there already, for more than one test."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NICE.items():
            patch.setenv(name, value)
        ray.init(**LOCAL, logging_level="WARNING")
        yield
        ray.shutdown()


def rows_in(path):
    rows = pd.read_parquet(path).sort_values("file", ignore_index=True)
    return rows.assign(file=rows["file"].str.rpartition("/")[2])


@pytest.mark.slow
def test_ray_writes_the_same_rows(tiny_checkpoint, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(200):  # several blocks
        shutil.copyfile(PATHS[number % len(PATHS)], folder / f"{number:03} ß.jpg")
    (folder / "letter.png").write_text("Dear Sir")
    local, output = tmp_path / "local.parquet", tmp_path / "ray.parquet"
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), str(folder), "--output", str(local)]) == 0
    command = [sys.executable, "-m", "fashion_model", *arguments(tiny_checkpoint, output, folder, workers=2)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | NICE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    line = done.stderr.splitlines()[-1]
    assert line == f"predict: 201 rows, 1 photographs not readable → {output}"
    rows, expected = rows_in(output), rows_in(local)
    assert expected["error"].notna().sum() == 1
    confidences = [column for column in expected if column.endswith(("_confidence", "_score"))]
    pd.testing.assert_frame_equal(rows.drop(columns=confidences), expected.drop(columns=confidences))
    pd.testing.assert_frame_equal(rows[confidences], expected[confidences], atol=1.1e-4)  # the last digit


def test_photographs_at_addresses_follow_the_same_rule():
    """Of what is one; a file without an ending is one by its content."""
    names = ("1.jpg", "2.jpg?v=3", "3", ".hidden/4.jpg", "notes.txt", ".cache/5.png", "a.txt")
    contents = [b"Dear Sir" if name == "notes.txt" else PATHS[0].read_bytes() for name in names]
    table = pa.table({"path": [f"bucket/{name}" for name in names], "bytes": contents})
    found = photographs_in(table, ["s3://bucket", "s3://bucket/.cache/", "s3://bucket/a.txt"])["path"].to_pylist()
    assert found == [f"bucket/{name}" for name in ("1.jpg", "2.jpg?v=3", "3", ".cache/5.png", "a.txt")]


@pytest.mark.slow
def test_status_is_1_if_nothing_can_be_read(cluster, tiny_checkpoint, tmp_path, capsys):
    folder, output = tmp_path / "my photographs", tmp_path / "rows.parquet"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "letter.png").write_text("Dear Sir")
    (folder / "notes.txt").write_text("Dear Sir")
    (folder / "loop").symlink_to(folder)
    assert main(arguments(tiny_checkpoint, output, folder.as_uri())) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"predict: 2 rows, 2 photographs not readable; other files passed over: 1 → {output}"
    assert list(rows_in(output)["file"]) == ["letter.png"] * 2


@pytest.mark.slow
def test_table_without_rows_is_refused(cluster, tiny_checkpoint, tmp_path, capsys):
    pyarrow.parquet.write_table(pa.table({"bytes": pa.array([], pa.binary())}), tmp_path / "images.parquet")
    assert main(arguments(tiny_checkpoint, tmp_path / "rows.parquet", tmp_path / "images.parquet")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"predict: no rows are in {tmp_path}/rows.parquet: there was no image")


@pytest.mark.slow
def test_tables_of_images_are_read_by_ray(cluster, classifier, tmp_path):
    """And products are found."""
    contents = [*(path.read_bytes() for path in (SEVERAL, *PATHS[:4])), b"no image"]
    images = [{"bytes": content, "path": f"{number}.jpg"} for number, content in enumerate(contents)]
    folder = tmp_path / "images.parquet"
    folder.mkdir()
    pyarrow.parquet.write_table(pa.table({"image": images}), folder / "0.parquet")
    assert main(arguments(DEFAULT_CHECKPOINT, tmp_path / "rows.parquet", f"{folder}/", "--products")) == 0
    rows = rows_in(tmp_path / "rows.parquet")
    expected = [len(classifier.find(content)) for content in contents[:5]]
    assert list(rows.groupby("file").size()) == [*expected, 1]
    assert set(rows[rows["error"].notna()]["file"]) == {"5.jpg"}


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"bytes": [b"1", b"2"], "path": ["ä.jpg", None]}, ["ä.jpg", "04e42a6ee7a9"]),
        ({"image": [b"1", b"2"], "id": [7, 108775015]}, ["7", "108775015"]),
        ({"bytes": [b"1", b"2"], "image": ["https://example.org/a.jpg", ""], "id": ["007", "8"]}, ["007", "8"]),
        ({"image": [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": "b"}], "id": ["007", "8"]}, ["007", "b"]),
        ({"image": [b"1", b"2"], "bytes": [10, 20], "file": [b"\xff.jpg", b""], "id": [7, 8]}, ["\udcff.jpg", "8"]),
        ({"image": [{"bytes": "text"}] * 2, "bytes": [b"1", b"2"], "id": [7, 8]}, ["7", "8"]),
    ],
)
def test_images_in_tables_have_names(columns, names):
    table = pa.table(columns)
    check_columns(table.schema)
    renamed = with_names(table)
    assert [os.fsdecode(path) for path in renamed["path"].to_pylist()] == names
    assert renamed["bytes"].to_pylist() == [b"1", b"2"]


@pytest.mark.parametrize("columns", [{"price": [1]}, {"bytes": ["text"]}, {"image": [{"path": "x"}]}])
def test_tables_without_images_are_refused(columns):
    with pytest.raises(OutputError, match="no images in a column bytes or image; they have"):
        check_columns(pa.table(columns).schema)


def test_output_that_ray_cannot_write_is_refused(tmp_path, capsys):
    (tmp_path / "old.parquet").touch()
    for name, message in (("rows.csv", "has to end in .parquet"), ("old.parquet", "exists already")):
        assert main(["predict", str(PATHS[0]), "--engine", "ray", "--output", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
