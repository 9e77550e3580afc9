from pathlib import Path

import pytest

from fashion_model.files import replacing, write_text


def test_a_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "config.json"
    write_text(path, "old ✓")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text(encoding="utf-8") == "old ✓"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "config.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="broken"), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise ValueError("broken")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_told_with_the_files_name(tmp_path):
    named = r"No space left on device: .*config\.json'"
    with (
        pytest.raises(OSError, match=named),
        replacing(tmp_path / "config.json"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100_000)
    assert not list(tmp_path.iterdir())


def test_line_ends_stay_as_they_are(tmp_path):
    write_text(tmp_path / "table.csv", "a\nb\r\n")
    assert (tmp_path / "table.csv").read_bytes() == b"a\nb\r\n"
