from pathlib import Path

import pytest

from fashion_model.images import ImageError
from fashion_model.outputs import OutputError, not_done, open_output
from fashion_model.rows import row_of

# Names that a file system allows and that a table has to keep whole.
FILES = [
    Path(name) for name in ("plain.jpg", 'a "b", c.jpg', "two\nlines.jpg", "two\r\nlines.jpg", "Kleid é.jpg", "z.jpg")
]


def write(path, files, resume=False):
    with open_output(path, resume) as output:
        for file in not_done(files, output.done):
            output.write(row_of(file, ImageError("The file is empty.")))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_wherever_a_run_is_killed_going_on_ends_in_the_same_file(tmp_path, ending):
    output = tmp_path / f"x.{ending}"
    write(output, FILES)
    whole = output.read_bytes()
    for length in range(len(whole) + 1):
        output.write_bytes(whole[:length])
        write(output, FILES, resume=True)
        assert output.read_bytes() == whole


def test_a_killed_parquet_goes_on_from_its_journal(tmp_path):
    output = tmp_path / "x.parquet"
    write(output, FILES)
    whole = output.read_bytes()
    write(tmp_path / "x.parquet.jsonl", FILES[:4])
    write(output, FILES, resume=True)
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
    write(output, FILES, resume=True)  # what is finished becomes a journal again, and back
    assert output.read_bytes() == whole


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
