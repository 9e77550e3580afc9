import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants

from data_prep.source import COLUMNS, KaggleSource
from tests.conftest import PRODUCTS, contents
from tests.data_prep.conftest import lines_of, prepare, table_of, usable, write_lines


def with_separator(text, separator):
    """As a spreadsheet saves it; names with commas are quoted then."""
    return "\r\n".join(separator.join(row.split(",", 9)) for row in text.splitlines() if row)


def with_padded_capitals(text):
    header, lines = text.split("\n", 1)
    return ",".join(f" {name.upper()} " for name in header.strip().split(",")) + "\n" + lines


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: with_separator(text, ";"), "utf-8"),
        (lambda text: with_separator(text, "\t"), "utf-8-sig"),
        (lambda text: re.sub(r"(?m)^(\d+),", r"\1.0,", text), "utf-8"),
        (with_padded_capitals, "utf-8-sig"),
        (lambda text: text.replace("\n", "\r"), "utf-8"),
        (str, "utf-16"),
    ],
    ids=["semicolons", "tabs", "ids with .0", "padded capitals", "old line ends", "utf-16"],
)
def test_tables_of_spreadsheets_give_the_same(change, encoding, copied, cleaned, tmp_path):
    text = (copied / "styles.csv").read_text(encoding="utf-8-sig")
    (copied / "styles.csv").write_bytes(change(text).encode(encoding))
    prepare("catalogue", tmp_path / "out", "--source", copied)
    assert contents(tmp_path / "out") == contents(cleaned)


def test_windows_1252_is_read_and_others_refused(copied, refused, tmp_path):
    header, rows = lines_of(copied)
    text = "\n".join([header, *(f"{row} – café" for row in rows)])
    (copied / "styles.csv").write_bytes(text.encode("cp1252"))
    prepare("catalogue", tmp_path / "out", "--source", copied)
    assert table_of(tmp_path / "out")["productDisplayName"].str.endswith("– café").all()
    (copied / "styles.csv").write_bytes(text.encode("cp1252") + b"\x81\x8d")
    sentence = refused("catalogue", tmp_path / "out", "--source", copied)
    assert "neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8" in sentence


def test_a_quotation_mark_does_not_join_rows(copied):
    header, rows = lines_of(copied)
    row = usable(copied, rows)[0]
    rows[rows.index(row)] = ",".join([*row.split(",")[:9], '"Leatherette bag'])
    write_lines(copied, header, rows)
    assert len(list(KaggleSource(copied).rows())) == 65


@pytest.mark.parametrize("top", ["", "archive/data/"])
def test_a_zip_gives_the_same_as_the_folder(top, cleaned, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for path in PRODUCTS.rglob("*.*"):
            name = top + path.relative_to(PRODUCTS).as_posix()
            file.write(path, name)
            file.writestr(f"__MACOSX/._{name}", b"")
        file.writestr("../../climbs.jpg", b"out")
    prepare("catalogue", tmp_path / "out", "--source", tmp_path / "data.zip")
    assert contents(tmp_path / "out") == contents(cleaned)
    assert not list(tmp_path.parent.rglob("climbs.jpg"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no styles.csv"),
        ({"styles.csv": b"a,b\n"}, "holds no photographs in a folder images/"),
        ({"styles.csv": b"a,b\r" * 9000, "images/1.jpg": b""}, "begins with the columns ['a', 'b'], not"),
    ],
)
def test_a_source_of_another_layout_is_refused(files, message, refused, tmp_path):
    (tmp_path / "source" / "images").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "source" / name).write_bytes(data)
    assert message in refused("catalogue", tmp_path / "out", "--source", tmp_path / "source")
    assert not (tmp_path / "out").exists()


def as_parquet(source, file, rows, image_of):
    """The data set as its repository on the Hub has it: numbers as numbers, images as bytes."""
    table = pd.DataFrame([{**dict(zip(COLUMNS, row[:9], strict=False)), COLUMNS[9]: ",".join(row[9:])} for row in rows])
    table["image"] = [None if (data := source.image(i)) is None else image_of(data) for i in table["id"]]
    table.astype({"id": int, "year": float}).replace("", None).to_parquet(file)


def test_the_hub_data_set_gives_the_same_as_the_zip(hub, tmp_path, cleaned, monkeypatch, capsys):
    source = KaggleSource(PRODUCTS)
    rows = list(source.rows())
    as_parquet(source, tmp_path / "0.parquet", rows[:30], lambda data: {"bytes": data, "path": None})
    as_parquet(source, tmp_path / "1.parquet", rows[30:], bytes)
    files = {f"data/train-0000{i}-of-00002.parquet": (tmp_path / f"{i}.parquet").read_bytes() for i in (0, 1)}
    repository = hub.add("dataset", "ashraq/fashion-product-images-small", {"README.md": b"card", **files})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = repository.branches["main"]
    for place in ("hf:ashraq/fashion-product-images-small", f"hf:ashraq/fashion-product-images-small@{commit}"):
        prepare("catalogue", tmp_path / "out", "--source", place)
        assert "65  rows read" in capsys.readouterr().out
        # The two names that lost their quotation marks on Kaggle are whole here, so nothing has to be recovered.
        assert contents(tmp_path / "out") == contents(cleaned)
    assert not any("README" in request for request in hub.requests)


def test_a_missing_or_other_hub_data_set_is_refused(hub, tmp_path, refused):
    hub.add("dataset", "user/empty", {"README.md": b"card"})
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "other.parquet")
    hub.add("dataset", "user/other", {"other.parquet": Path(tmp_path / "other.parquet").read_bytes()})
    for place, message in (
        ("hf:user/nowhere", "hf:user/nowhere: there is no such repository"),
        ("hf:user/empty", "no Parquet files"),
        ("hf:user/other", "lacks the columns"),
        ("hf:a/b/c", "cannot be the name"),
    ):
        assert message in refused("catalogue", tmp_path / "out", "--source", place)
