import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants

from data_prep import TABLE, clean_data
from data_prep.clean_data import clean
from data_prep.source import COLUMNS, KaggleSource, SourceError
from tests.data_prep.conftest import PRODUCTS, contents, first_usable, lines_of, table_of


@pytest.mark.parametrize("top", ["", "fashion/"])
def test_a_zip_gives_the_same_table_as_the_folder(cleaned, tmp_path, top):
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PRODUCTS.rglob("*"):
            file.write(path, top + path.relative_to(PRODUCTS).as_posix())
    clean_data.main(["--source", str(archive), "--output", str(tmp_path / "out")])
    pd.testing.assert_frame_equal(table_of(tmp_path / "out"), table_of(cleaned))


def test_a_quotation_mark_in_a_name_does_not_join_rows(copied, tmp_path):
    header, *rows = lines_of(copied / "styles.csv")
    fields = first_usable(copied, rows).split(",")
    fields[9] = '"Leatherette bag'
    position = next(i for i, row in enumerate(rows) if row.split(",")[0] == fields[0])
    rows[position] = ",".join(fields)
    (copied / "styles.csv").write_text("\r\n".join([header, *rows]) + "\r\n", encoding="utf-8-sig")
    assert clean(KaggleSource(copied), tmp_path / "out")[1].read == 65


def with_separator(text, separator):
    """As a spreadsheet saves it; names with commas are quoted then."""
    rows = (line.split(",", 9) for line in text.splitlines() if line)
    return "\r\n".join(separator.join(row) for row in rows)


def with_float_ids(text):
    header, *lines = text.splitlines()
    return "\n".join([header, *(re.sub(r"^(\d+),", r"\1.0,", line) for line in lines)])


def with_another_header(text):
    header, lines = text.split("\n", 1)
    return ",".join(f" {name.upper()} " for name in header.strip().split(",")) + "\n" + lines


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: with_separator(text, ";"), "utf-8"),
        (lambda text: with_separator(text, "\t"), "utf-8-sig"),
        (with_float_ids, "utf-8"),
        (with_another_header, "utf-8-sig"),
        (str, "utf-16"),
    ],
    ids=["semicolons", "tabs", "ids with .0", "padded capitals", "utf-16"],
)
def test_a_table_that_a_spreadsheet_saved_gives_the_same(change, encoding, copied, cleaned, tmp_path):
    text = (copied / "styles.csv").read_text(encoding="utf-8-sig")
    (copied / "styles.csv").write_bytes(change(text).encode(encoding))
    assert clean_data.main(["--source", str(copied), "--output", str(tmp_path / "out")]) == 0
    pd.testing.assert_frame_equal(table_of(tmp_path / "out"), table_of(cleaned))


def test_windows_1252_is_read_and_other_bytes_are_refused(copied, tmp_path, capsys):
    lines = (copied / "styles.csv").read_text(encoding="utf-8-sig").splitlines()
    text = "\n".join([lines[0], *(f"{line} – café" for line in lines[1:])])
    (copied / "styles.csv").write_bytes(text.encode("cp1252"))
    assert clean_data.main(["--source", str(copied), "--output", str(tmp_path / "out")]) == 0
    assert table_of(tmp_path / "out")["productDisplayName"].str.endswith("– café").all()
    (copied / "styles.csv").write_bytes(text.encode("cp1252") + b"\x81\x8d")
    assert clean_data.main(["--source", str(copied), "--output", str(tmp_path / "out")]) == 2
    assert "neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8" in capsys.readouterr().err


def test_a_huge_field_is_a_malformed_row(copied, tmp_path):
    with (copied / "styles.csv").open("a", encoding="utf-8") as file:
        file.write("\n99999,Men," + "x" * 200_000)
    counts = clean(KaggleSource(copied), tmp_path / "out")[1]
    assert (counts.read, counts.dropped["row malformed"]) == (66, 1)


@pytest.mark.parametrize("layout", ["two folders down", "zip in a zip", "backslashes"])
def test_a_zip_in_another_layout_gives_the_same_table(layout, cleaned, tmp_path):
    top = "archive/data/" if layout == "two folders down" else ""
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for path in PRODUCTS.rglob("*.*"):
            name = top + path.relative_to(PRODUCTS).as_posix()
            file.writestr(name.replace("/", "\\") if layout == "backslashes" else name, path.read_bytes())
            file.writestr(f"__MACOSX/._{name}", b"")
        file.writestr("../../climbs.jpg", b"out")
    source = tmp_path / "data.zip"
    if layout == "zip in a zip":
        source = tmp_path / "outer.zip"
        with zipfile.ZipFile(source, "w") as file:
            file.write(tmp_path / "data.zip", "sets/data.zip")
            file.writestr("__MACOSX/sets/._data.zip", b"")
    assert clean_data.main(["--source", str(source), "--output", str(tmp_path / "out")]) == 0
    pd.testing.assert_frame_equal(table_of(tmp_path / "out"), table_of(cleaned))
    assert not list(tmp_path.parent.rglob("climbs.jpg"))


def test_a_source_with_another_layout_is_an_error(tmp_path, capsys):
    for build, message in [
        (lambda: None, "holds no styles.csv"),
        (lambda: (tmp_path / "styles.csv").write_text("a,b\n"), "holds no folder images"),
        (lambda: (tmp_path / "images").mkdir(), "begins with the columns"),
    ]:
        build()
        with pytest.raises(SourceError, match=message):
            list(KaggleSource(tmp_path).rows())
    with pytest.raises(SourceError, match="neither a folder nor a zip"):
        KaggleSource(tmp_path / "nothing.zip")
    assert clean_data.main(["--source", str(tmp_path / "nothing.zip"), "--output", str(tmp_path / "out")]) == 2
    assert "neither a folder nor a zip" in capsys.readouterr().err


def as_parquet(source, file, rows):
    """The data set as its repository on the Hub has it: numbers as numbers, images as bytes."""
    table = pd.DataFrame([{**dict(zip(COLUMNS, row[:9], strict=False)), COLUMNS[9]: ",".join(row[9:])} for row in rows])
    table = table.astype({"id": int, "year": float}).replace("", None)
    table["image"] = [None if (data := source.image(i)) is None else {"bytes": data, "path": None} for i in table["id"]]
    table.to_parquet(file)


def test_the_hub_data_set_gives_the_same_table_as_the_zip(hub, tmp_path, cleaned, monkeypatch, capsys):
    source = KaggleSource(PRODUCTS)
    rows = list(source.rows())
    files = {f"data/train-0000{i}-of-00002.parquet": half for i, half in enumerate((rows[:30], rows[30:]))}
    for name, half in files.items():
        as_parquet(source, tmp_path / Path(name).name, half)
    content = {name: (tmp_path / Path(name).name).read_bytes() for name in files}
    repository = hub.add("dataset", "ashraq/fashion-product-images-small", {"README.md": b"card", **content})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "out"
    commit = repository.branches["main"]
    for place in ("hf:ashraq/fashion-product-images-small", f"hf:ashraq/fashion-product-images-small@{commit}"):
        assert clean_data.main(["--source", place, "--output", str(output)]) == 0
        assert "65  rows read" in capsys.readouterr().out
        # The two names that lost their quotation marks on Kaggle are whole here, so nothing has to be recovered.
        pd.testing.assert_frame_equal(pd.read_csv(output / TABLE), pd.read_csv(cleaned / TABLE))
        assert contents(output / "images") == contents(cleaned / "images")
    assert not any("README" in request for request in hub.requests)


def test_a_missing_or_other_hub_data_set_is_an_error(hub, tmp_path, capsys):
    hub.add("dataset", "user/empty", {"README.md": b"card"})
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "other.parquet")
    hub.add("dataset", "user/other", {"other.parquet": (tmp_path / "other.parquet").read_bytes()})
    for place, message in (
        ("hf:user/nowhere", "hf:user/nowhere: there is no such repository"),
        ("hf:user/empty", "no Parquet files"),
        ("hf:user/other", "lacks the columns"),
        ("hf:a/b/c", "cannot be the name"),
    ):
        assert clean_data.main(["--source", place, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
