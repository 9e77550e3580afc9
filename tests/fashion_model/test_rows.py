import csv
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest

from fashion_model.batch import not_done
from fashion_model.images import ImageError
from fashion_model.predictions import AttributePrediction, Prediction, Product
from fashion_model.rows import OutputError, csv_of, fields_of, json_line, open_output, rows_of
from tests.conftest import NAMES, USAGE

FOUR = (
    *("file", "color", "color_confidence", "product_type", "product_type_confidence"),
    *("season", "season_confidence", "gender", "gender_confidence", "error", "is_fashion"),
)
EMPTY = ImageError("The file is empty.")
# Names that a file system allows and that a table has to keep whole.
FILES = [
    Path(name) for name in ("plain.jpg", 'a "b", c.jpg', "two\nlines.jpg", "two\r\nlines.jpg", "Kleid é.jpg", "z.jpg")
]


def prediction_of(names):
    probabilities = np.array([0.123456, 0.876544], dtype=np.float32)
    attributes = {name: AttributePrediction((f"no {name}", f"a {name}"), probabilities) for name in names}
    return Prediction(attributes, fashion_score=1.0, fashion_threshold=-0.5)


def write(path, resume=False, products=False):
    with open_output(path, fields_of(NAMES, products), "abc", resume) as (done, write_rows):
        for number, file in enumerate(FILES):
            if file not in not_done(FILES, done, products):
                continue
            found = [Product((1, 2, 30, 40), "bag", 0.5, prediction_of(NAMES))] * (number % 3)
            write_rows(rows_of(file, found if products else prediction_of(NAMES), NAMES, products))


def files_in(path):
    """The files of an output's rows, as pandas reads it."""
    readers = {".csv": lambda p: pandas.read_csv(p, keep_default_na=False), ".parquet": pandas.read_parquet}
    return list(readers.get(path.suffix, lambda p: pandas.read_json(p, lines=True))(path)["file"])


@pytest.mark.parametrize("more", [(), (USAGE.name,)])
def test_fields_of_a_row_keep_their_order(more):
    names, of_more = (*NAMES, *more), [field for name in more for field in (name, f"{name}_confidence")]
    fields = (*FOUR, *of_more, "fashion_score", "fashion_threshold")
    [good], [bad] = rows_of("x.jpg", prediction_of(names), names), rows_of("y.jpg", EMPTY, names)
    assert tuple(good) == tuple(bad) == fields_of(names) == fields
    assert (good["file"], good["error"], good["is_fashion"]) == ("x.jpg", None, True)
    assert (good["fashion_score"], good["fashion_threshold"]) == (1.0, -0.5)
    assert all((good[name], good[f"{name}_confidence"]) == (f"a {name}", 0.8765) for name in names)
    filled = {field: value for field, value in bad.items() if value is not None}
    assert filled == {"file": "y.jpg", "error": "The file is empty."}
    cells, bad_cells = csv.DictReader(io.StringIO(csv_of([good, bad], fields)))
    assert (cells["gender"], cells["gender_confidence"], cells["is_fashion"]) == ("a gender", "0.8765", "yes")
    assert {field: cell for field, cell in bad_cells.items() if cell} == filled
    assert [json.loads(json_line(row)) for row in (good, bad)] == [good, bad]


FORMULAS = ("=cmd|' /C calc'!A0.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "'=1.jpg")


@pytest.mark.parametrize("name", [*FORMULAS, "a=b.jpg", "'quoted'.jpg", "shoe.jpg"])
def test_spreadsheet_calculates_no_name(name):
    (row,) = csv.DictReader(io.StringIO(csv_of(rows_of(name, prediction_of(NAMES), NAMES), fields_of(NAMES))))
    assert row["file"] == (f"'{name}" if name in FORMULAS else name)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_killed_run_ends_in_the_same_file(tmp_path, ending, products):
    output = tmp_path / f"x.{ending}"
    write(output, products=products)
    finished = output.read_bytes()
    rows_of_files = [1, 1, 2] * 2 if products else [1] * 6
    assert files_in(output) == [str(file) for file, n in zip(FILES, rows_of_files, strict=True) for _ in range(n)]
    assert list(tmp_path.iterdir()) == [output]
    write(tmp_path / "rows.jsonl", products=products)
    rows = (tmp_path / "rows.jsonl").read_bytes()
    unfinished = output if ending == "jsonl" else tmp_path / f"x.{ending}.unfinished.jsonl"
    for length in range(0, len(rows) + 1, 53):
        output.unlink()
        unfinished.write_bytes(rows[:length])
        write(output, resume=True, products=products)
        assert output.read_bytes() == finished


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"file": "x.jpg"}, "its columns differ"),
        (dict.fromkeys([*fields_of(NAMES), "checkpoint"], "x"), "rows of another checkpoint"),
        ("Dear Sir", "its columns differ"),
    ],
)
def test_foreign_rows_are_not_continued(tmp_path, content, message):
    rows, content = tmp_path / "rows.jsonl", json.dumps(content) + "\n"
    rows.write_text(content)
    with pytest.raises(OutputError, match=f"rows.jsonl .*{message}"):
        write(rows, resume=True)
    assert rows.read_text() == content
    rows.write_text("Dear Sir\n")
    with pytest.raises(OutputError, match=r"rows.jsonl .*line 1 is no row"):
        write(rows, resume=True)


@pytest.mark.parametrize(
    ("files", "done", "left"),
    [("abcd", "", "abcd"), ("abcd", "aXb", "cd"), ("abab", "ba", "ab"), ("ab", "aba", "")],
)
def test_files_with_rows_are_not_done_again(files, done, left):
    assert "".join(map(str, not_done(map(Path, files), Counter(done)))) == left
