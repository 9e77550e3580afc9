"""Reading folders and zips, and what all commands have in common: no file is overwritten but those they wrote."""

import io
import runpy
import shutil
import sys
import zipfile

import pytest
from PIL import Image

from data_prep.archive import WRITTEN, Archive, replacing_files
from data_prep.tables import SourceError
from tests.conftest import EVERYDAY, PHONE, PRODUCTS, ROOT, STREET, contents
from tests.data_prep.conftest import prepare


def picture(color, size=(60, 30), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


OVERLAY = "z/c.jpg.0123456789ab.color.png"
FILES = {
    "deep/er/a.jpg": picture("red", (600, 300)),
    "z/a.jpg": picture("blue"),
    "B.JPG?v=1699999999": picture("red"),
    "z/unnamed": picture("red", kind="PNG"),
    OVERLAY: picture("red", kind="PNG"),
    "text.jpg": b"no image",
    "notes": b"BMW drives",
    "a.cr2": picture("red", kind="TIFF"),
    "z/table.csv": b"name\n",
    "__MACOSX/z/._a.jpg": b"metadata",
    "@eaDir/a.jpg/thumbnail.jpg": picture("red"),
    ".thumbnails/b.jpg": picture("red"),
}


def write_files(folder, files=FILES):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(file, files=FILES):
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file


@pytest.fixture(params=["folder", "zip", "backslashes", "zip in a zip"])
def archive(request, tmp_path):
    """The same files in each layout."""
    if request.param == "folder":
        return Archive(write_files(tmp_path / "files"))
    if request.param == "backslashes":
        return Archive(zipped(tmp_path / "files.zip", {name.replace("/", "\\"): FILES[name] for name in FILES}))
    inner = zipped(tmp_path / "files.zip")
    if request.param == "zip":
        return Archive(inner)
    outer = {"sets/files.zip": inner.read_bytes(), "__MACOSX/sets/._files.zip": b""}
    return Archive(zipped(tmp_path / "outer.zip", outer))


def test_photographs_by_name_or_content(archive, capsys):
    expected = {"a.jpg": "z/a.jpg", "B.jpg": "B.JPG?v=1699999999", "text.jpg": "text.jpg", "unnamed.jpg": "z/unnamed"}
    assert archive.photographs() == expected
    assert list(archive.photographs("deep/")) == ["a.jpg"]
    assert [archive.find(name) for name in ("a.jpg", "er/a.jpg")] == ["z/a.jpg", "deep/er/a.jpg"]
    for path in expected.values():
        archive.read(path)
    assert archive.image("z/a.jpg").size == (60, 30)
    assert archive.image("z/a.jpg", max_side=20).size == (20, 10)
    archive.print_passed_over()
    left = f"       5  files of {archive.path} passed over: a.cr2, deep/er/a.jpg, notes, …\n"
    assert capsys.readouterr().out == left  # the others are an overlay and the table


def test_unreadable_files_are_source_errors(tmp_path):
    archive = Archive(write_files(tmp_path / "files"))
    damaged = zipped(tmp_path / "files.zip", {"a.jpg": FILES["deep/er/a.jpg"]})
    stored = bytearray(damaged.read_bytes())
    stored[200:260] = bytes(60)
    damaged.write_bytes(stored)
    for read, message in (
        (lambda: archive.find("nothing.csv"), "holds no nothing.csv"),
        (lambda: archive.image("text.jpg"), "text.jpg: The file is not an image"),
        (lambda: Archive(damaged).image("a.jpg"), r"files\.zip: a\.jpg: "),
        (lambda: Archive(tmp_path / "nowhere"), "neither a folder nor a zip file"),
    ):
        with pytest.raises(SourceError, match=message):
            read()


def write(folder, names, sources=()):
    with replacing_files(folder, names, sources):
        write_files(folder, dict.fromkeys(names, b"ours"))


def test_runs_delete_only_what_earlier_ones_wrote(tmp_path):
    write(tmp_path, ["train/a.jpg", "b.jpg"])
    write_files(tmp_path, {"train/own.jpg": b"own", "notes.txt": b"own"})
    with pytest.raises(KeyboardInterrupt), replacing_files(tmp_path, ["b.jpg", "c.jpg"], []):
        write_files(tmp_path, {"c.jpg": b"ours"})
        raise KeyboardInterrupt
    write(tmp_path, ["test/a.jpg", "b.jpg"])
    assert set(contents(tmp_path)) == {"b.jpg", "notes.txt", "test/a.jpg", "train/own.jpg", WRITTEN}


def test_files_of_others_are_never_overwritten(tmp_path):
    write_files(tmp_path, {"a.jpg": b"own"})
    with pytest.raises(SourceError, match=r"a\.jpg exists, and no earlier run has written it"):
        write(tmp_path, ["a.jpg", "b.jpg"])
    assert contents(tmp_path) == {"a.jpg": b"own"}


def test_a_record_never_reaches_out_of_its_folder(tmp_path):
    write_files(tmp_path, {"own.jpg": b"own", f"data/{WRITTEN}": f"../own.jpg\n{tmp_path}/own.jpg\n".encode()})
    write(tmp_path / "data", ["a.jpg"])
    assert (tmp_path / "own.jpg").read_bytes() == b"own"


@pytest.mark.parametrize(
    ("command", "option", "published"),
    [
        ("catalogue", "--source", PRODUCTS),
        ("phone-photographs", "--source", PHONE),
        ("street-photographs", "--source", STREET),
        ("photographs", "--everyday", EVERYDAY),
        ("photographs", "--high-resolution", PRODUCTS / "images"),
    ],
)
def test_the_source_is_never_the_target(command, option, published, refused, tmp_path):
    """Neither the same folder, by whatever path, nor what an earlier run wrote, nor a folder around the target."""
    source = shutil.copytree(published, tmp_path / "source")
    (tmp_path / "link").symlink_to(source)
    before = contents(source)
    for output in (source, tmp_path / "link"):
        assert "choose another --output" in refused(command, output, option, source)
    assert contents(source) == before
    if command != "catalogue":
        assert "lies in the source" in refused(command, source / "data", option, source)
        assert contents(source) == before
        prepare(command, tmp_path / "out", option, source)
        before = contents(tmp_path / "out")
        (target,) = (tmp_path / "out").iterdir()
        refused(command, tmp_path / "out", option, target)
        assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("module", ["clean_data", "phone_photographs", "photographs"])
def test_each_module_runs_its_command(module, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / "data_prep" / f"{module}.py"), run_name="__main__")
    assert "usage: python -m data_prep " in capsys.readouterr().out
