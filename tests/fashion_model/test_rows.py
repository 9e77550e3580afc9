import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from fashion_model.images import ImageError
from fashion_model.predictions import AttributePrediction, Prediction
from fashion_model.rows import OutputError, csv_of, fields_of, json_lines_of, not_done, open_output, row_of
from tests.conftest import NAMES, USAGE

FOUR = (
    *("file", "color", "color_confidence", "product_type", "product_type_confidence"),
    *("season", "season_confidence", "gender", "gender_confidence", "error", "is_fashion"),
)
SCORES = ("fashion_score", "fashion_threshold")
FIVE = (*NAMES, USAGE.name)
EMPTY = ImageError("The file is empty.")
# Names that a file system allows and that a table has to keep whole.
FILES = [
    Path(name) for name in ("plain.jpg", 'a "b", c.jpg', "two\nlines.jpg", "two\r\nlines.jpg", "Kleid é.jpg", "z.jpg")
]


def prediction_of(names):
    probabilities = np.array([0.123456, 0.876544], dtype=np.float32)
    answers = {name: AttributePrediction((f"no {name}", f"a {name}"), probabilities) for name in names}
    return Prediction(answers, fashion_score=1.0, fashion_threshold=-0.5)


def write(path, files=FILES, resume=False, attributes=NAMES, checkpoint="abc"):
    with open_output(path, attributes, checkpoint, resume) as output:
        for file in not_done(files, output.done):
            output.write(row_of(file, EMPTY, attributes))


def rows_until_the_end(path):
    return path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.unfinished.jsonl")


def read(path):
    """The rows of a finished file, as pandas reads them."""
    readers = {".csv": lambda p: pandas.read_csv(p, keep_default_na=False), ".parquet": pandas.read_parquet}
    return readers.get(path.suffix, lambda p: pandas.read_json(p, lines=True))(path)


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (NAMES, (*FOUR, *SCORES)),
        (FIVE, (*FOUR, "usage", "usage_confidence", *SCORES)),
        (("fit",), ("file", "fit", "fit_confidence", "error", "is_fashion", *SCORES)),
    ],
)
def test_the_fields_of_a_row_keep_their_places(names, fields):
    good, bad = row_of("x.jpg", prediction_of(names), names), row_of("y.jpg", EMPTY, names)
    assert tuple(good) == tuple(bad) == fields_of(names) == fields
    assert (good["file"], good["error"], good["is_fashion"]) == ("x.jpg", None, True)
    assert (good["fashion_score"], good["fashion_threshold"]) == (1.0, -0.5)
    assert all((good[name], good[f"{name}_confidence"]) == (f"a {name}", 0.8765) for name in names)
    filled = {field: value for field, value in bad.items() if value is not None}
    assert filled == {"file": "y.jpg", "error": "The file is empty."}


def test_csv_and_json_lines_hold_a_rows_values():
    rows = [row_of("x.jpg", prediction_of(FIVE), FIVE), row_of("y.jpg", EMPTY, FIVE)]
    good, bad = csv.DictReader(io.StringIO(csv_of(rows, FIVE)))
    values = ("a usage", "0.8765", "yes", "")
    assert (good["usage"], good["usage_confidence"], good["is_fashion"], good["error"]) == values
    assert (bad["error"], bad["is_fashion"], bad["usage"]) == ("The file is empty.", "", "")
    assert [json.loads(line) for line in json_lines_of(rows, FIVE).splitlines()] == rows


def test_a_row_needs_every_attribute_it_names():
    with pytest.raises(KeyError):
        row_of("x.jpg", prediction_of(NAMES), FIVE)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "'=1.jpg"])
def test_a_spreadsheet_calculates_no_name(name):
    (row,) = csv.DictReader(io.StringIO(csv_of([row_of(name, prediction_of(NAMES), NAMES)], NAMES)))
    assert row["file"] == f"'{name}"


@pytest.mark.parametrize("name", ["a=b.jpg", "'quoted'.jpg", "shoe.jpg"])
def test_other_names_stay_as_they_are(name):
    (row,) = csv.DictReader(io.StringIO(csv_of([row_of(name, prediction_of(NAMES), NAMES)], NAMES)))
    assert row["file"] == name


@pytest.mark.parametrize("attributes", [NAMES, FIVE])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_killed_run_ends_in_the_same_file(tmp_path, ending, attributes):
    output = tmp_path / f"x.{ending}"
    write(output, attributes=attributes)
    finished, journal = output.read_bytes(), rows_until_the_end(output)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    write(tmp_path / "rows.jsonl", attributes=attributes)
    whole = (tmp_path / "rows.jsonl").read_bytes()
    for length in range(0, len(whole) + 1, 1 if ending == "jsonl" else 97):
        output.unlink()
        journal.write_bytes(whole[:length])
        write(output, resume=True, attributes=attributes)
        assert output.read_bytes() == finished
    assert list(read(output)["file"]) == [str(file) for file in FILES]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_formats_have_the_same_rows(tmp_path, ending):
    write(tmp_path / "rows.jsonl")
    write(tmp_path / f"x.{ending}")
    expected, table = read(tmp_path / "rows.jsonl"), read(tmp_path / f"x.{ending}")
    assert list(table) == [*FOUR, *SCORES, "checkpoint"]
    for column in ("file", "error", "checkpoint"):
        assert list(table[column]) == list(expected[column])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_interrupted_run_leaves_the_old_file(tmp_path, ending):
    output = tmp_path / f"x.{ending}"
    write(output)
    whole = output.read_bytes()
    with pytest.raises(KeyboardInterrupt), open_output(output, NAMES, "abc") as opened:
        opened.write(row_of(FILES[0], EMPTY, NAMES))
        raise KeyboardInterrupt
    assert output.read_bytes() == whole
    write(output, FILES[:2], resume=True)
    assert list(read(output)["file"]) == [str(file) for file in FILES[:2]]


@pytest.mark.parametrize(
    ("others", "message"),
    [({"attributes": FIVE}, "its columns differ"), ({"checkpoint": "def"}, r"rows of another checkpoint \(abc\)")],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_of_another_network_are_kept_apart(tmp_path, ending, others, message):
    journal = rows_until_the_end(tmp_path / f"x.{ending}")
    write(tmp_path / "rows.jsonl", FILES[:2])
    (tmp_path / "rows.jsonl").rename(journal)
    before = journal.read_bytes()
    with pytest.raises(OutputError, match=message):
        write(tmp_path / f"x.{ending}", resume=True, **others)
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("paths", "done", "left"),
    [
        ("abcdef", "", "abcdef"),
        ("abcdef", "abc", "def"),
        ("abcdef", "abcdef", ""),
        ("abcdef", "acd", "bef"),
        ("abcdef", "aXbc", "def"),
        ("abcdef", "bcdefX", "a"),
        ("abcdef", "abcdefg", ""),
        ("abab", "ab", "ab"),
        ("abab", "ba", "ab"),
    ],
)
def test_what_is_done_is_left_out(paths, done, left):
    assert "".join(map(str, not_done(map(Path, paths), iter(done)))) == left
