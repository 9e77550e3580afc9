from pathlib import Path

import pandas
import pytest

from fashion_model.images import ImageError
from fashion_model.outputs import OutputError, check_output, not_done, open_output
from fashion_model.rows import row_of
from tests.conftest import NAMES, USAGE

# Names that a file system allows and that a table has to keep whole.
FILES = [
    Path(name) for name in ("plain.jpg", 'a "b", c.jpg', "two\nlines.jpg", "two\r\nlines.jpg", "Kleid é.jpg", "z.jpg")
]


def write(path, files, resume=False, attributes=NAMES):
    with open_output(path, attributes, resume) as output:
        for file in not_done(files, output.done):
            output.write(row_of(file, ImageError("The file is empty."), attributes))


@pytest.mark.parametrize("attributes", [NAMES, (*NAMES, USAGE.name)])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_wherever_a_run_is_killed_resuming_ends_in_the_same_file(tmp_path, ending, attributes):
    output = tmp_path / f"x.{ending}"
    write(output, FILES, attributes=attributes)
    whole = output.read_bytes()
    for length in range(len(whole) + 1):
        output.write_bytes(whole[:length])
        write(output, FILES, resume=True, attributes=attributes)
        assert output.read_bytes() == whole


def test_parquet_cannot_be_resumed_and_the_error_says_what_to_do(tmp_path):
    output = tmp_path / "x.parquet"
    check_output(output)
    with pytest.raises(OutputError, match=r"cannot be continued: resume to \.jsonl and convert it"):
        check_output(output, resume=True)


@pytest.mark.parametrize("rows", [0, 1, 6, 7])
def test_parquet_holds_the_rows_that_converted_json_lines_hold(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("fashion_model.outputs.ROW_GROUP", 3)
    files = (FILES * 2)[:rows]
    write(tmp_path / "x.parquet", files)
    table = pandas.read_parquet(tmp_path / "x.parquet")
    assert table["file"].tolist() == [str(file) for file in files]
    assert table["error"].tolist() == ["The file is empty."] * rows
    if rows:
        write(tmp_path / "x.jsonl", files)
        pandas.read_json(tmp_path / "x.jsonl", lines=True).to_parquet(tmp_path / "converted.parquet")
        converted = pandas.read_parquet(tmp_path / "converted.parquet")
        assert converted.columns.tolist() == table.columns.tolist()
        assert converted["file"].tolist() == table["file"].tolist()


def test_a_parquet_file_is_replaced_only_when_all_rows_are_written(tmp_path):
    output = tmp_path / "x.parquet"
    write(output, FILES)
    whole = output.read_bytes()
    with pytest.raises(KeyboardInterrupt), open_output(output, NAMES) as opened:
        opened.write(row_of(FILES[0], ImageError("The file is empty."), NAMES))
        raise KeyboardInterrupt
    assert output.read_bytes() == whole
    write(output, FILES[:2])
    assert len(pandas.read_parquet(output)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_of_other_attributes_are_not_continued(tmp_path, ending):
    output = tmp_path / f"x.{ending}"
    write(output, FILES[:2])
    before = output.read_bytes()
    with pytest.raises(OutputError, match=r"its columns differ|begins no row"):
        write(output, FILES, resume=True, attributes=(*NAMES, USAGE.name))
    assert output.read_bytes() == before


def test_a_table_whose_middle_is_damaged_is_left_as_it_is(tmp_path):
    output = tmp_path / "x.csv"
    write(output, FILES)
    damaged = output.read_bytes().replace(b"z.jpg", b"y.jpg,more").replace(b"plain.jpg", b"plain.jpg,more")
    output.write_bytes(damaged)
    with pytest.raises(OutputError, match="begins no row"):
        write(output, FILES, resume=True)
    assert output.read_bytes() == damaged


def test_what_is_done_is_left_out_whatever_was_added_or_removed():
    paths = [Path(name) for name in "abcdef"]

    def left(done):
        return "".join(map(str, not_done(iter(paths), iter(done))))

    assert left("") == "abcdef"
    assert left("abc") == "def"
    assert left("abcdef") == ""
    assert left("acd") == "bef"
    assert left("aXbc") == "def"
    assert left("bcdefX") == "a"
    assert left("abcdefg") == ""
    paths = [Path(name) for name in "abab"]
    assert left("ab") == "ab"
    assert left("ba") == "ab"
