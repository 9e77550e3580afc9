import io
import zipfile

import pytest
from PIL import Image

from data_prep.archive import WRITTEN, Archive, replacing_files
from data_prep.tables import SourceError
from tests.conftest import contents


def picture(color, size=(60, 30), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


FILES = {
    "deep/er/a.jpg": picture("red", (600, 300)),
    "z/a.jpg": picture("blue"),
    "B.JPG?v=1699999999": picture("red"),
    "z/unnamed": picture("red", kind="PNG"),
    "text.jpg": b"no image",
    "notes": b"BMW drives",
    "a.cr2": picture("red", kind="TIFF"),
    "z/table.csv": "\ufeffname\ncafé\n".encode(),
    "latin.csv": b"caf\x81",  # no character of Windows-1252
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


def test_photographs_are_told_by_name_or_content(archive):
    expected = {"a.jpg": "z/a.jpg", "B.jpg": "B.JPG?v=1699999999", "text.jpg": "text.jpg", "unnamed.jpg": "z/unnamed"}
    assert archive.photographs() == expected
    assert list(archive.photographs("deep/")) == ["a.jpg"]


def test_images_are_shrunk_and_never_enlarged(archive):
    assert archive.image("z/a.jpg", max_side=20).size == (20, 10)
    assert archive.image("z/a.jpg").size == (60, 30)
    assert archive.image("deep/er/a.jpg").size == (400, 200)


def test_files_are_found_by_the_end_of_a_path(archive):
    assert archive.find("a.jpg") == "z/a.jpg"
    assert archive.find("er/a.jpg") == "deep/er/a.jpg"
    assert archive.text(archive.find("table.csv")) == "name\ncafé\n"


def test_files_that_were_not_read_are_counted(archive):
    for path in archive.photographs().values():
        archive.read(path)
    assert archive.passed_over() == ["a.cr2", "deep/er/a.jpg", "latin.csv", "notes", "z/table.csv"]


def test_unreadable_files_are_source_errors(archive, tmp_path):
    for read, message in (
        (lambda: archive.find("nothing.csv"), "holds no nothing.csv"),
        (lambda: archive.text("latin.csv"), "latin.csv is neither UTF-8"),
        (lambda: archive.image("text.jpg"), "text.jpg: The file is not an image"),
        (lambda: Archive(tmp_path / "nowhere"), "neither a folder nor a zip file"),
    ):
        with pytest.raises(SourceError, match=message):
            read()


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_of_a_zip_is_an_error(way, tmp_path):
    with zipfile.ZipFile(tmp_path / "files.zip", "w", way) as file:
        file.writestr("a.jpg", FILES["deep/er/a.jpg"])
    stored = bytearray((tmp_path / "files.zip").read_bytes())
    stored[200:260] = bytes(60)
    (tmp_path / "files.zip").write_bytes(stored)
    with pytest.raises(SourceError, match=r"files\.zip: a\.jpg: "):
        Archive(tmp_path / "files.zip").image("a.jpg")


def test_linked_folders_are_entered_once(tmp_path):
    write_files(tmp_path / "elsewhere", {"a.jpg": FILES["z/a.jpg"]})
    source = write_files(tmp_path / "source", {"b.jpg": FILES["z/a.jpg"]})
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / "endless").symlink_to(source)
    assert Archive(source).photographs() == {"a.jpg": "linked/a.jpg", "b.jpg": "b.jpg"}


def write(folder, names, sources=()):
    with replacing_files(folder, names, sources):
        write_files(folder, dict.fromkeys(names, b"ours"))


def test_a_run_deletes_only_what_an_earlier_one_wrote(tmp_path):
    write(tmp_path, ["train/a.jpg", "b.jpg"])
    write_files(tmp_path, {"train/own.jpg": b"own", "notes.txt": b"own"})
    write(tmp_path, ["test/a.jpg", "b.jpg"])
    assert set(contents(tmp_path)) == {"b.jpg", "notes.txt", "test/a.jpg", "train/own.jpg", WRITTEN}


def test_files_of_an_interrupted_run_are_deleted(tmp_path):
    write(tmp_path, ["a.jpg"])
    with pytest.raises(KeyboardInterrupt), replacing_files(tmp_path, ["b.jpg", "c.jpg"], []):
        write_files(tmp_path, {"b.jpg": b"ours"})
        raise KeyboardInterrupt
    assert set(contents(tmp_path)) == {"a.jpg", "b.jpg", WRITTEN}
    write(tmp_path, ["d.jpg"])
    assert set(contents(tmp_path)) == {"d.jpg", WRITTEN}


def test_files_of_others_are_never_overwritten(tmp_path):
    write_files(tmp_path, {"a.jpg": b"own"})
    with pytest.raises(SourceError, match=r"a\.jpg exists, and no earlier run has written it"):
        write(tmp_path, ["a.jpg", "b.jpg"])
    assert contents(tmp_path) == {"a.jpg": b"own"}


def test_a_linked_source_is_never_overwritten(tmp_path):
    write(tmp_path / "data", ["a.jpg"])
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for source in (tmp_path / "link" / "a.jpg", tmp_path / "data" / ".." / "data" / "a.jpg"):
        with pytest.raises(SourceError, match="is a file of the source"):
            write(tmp_path / "data", ["b.jpg"], [source])
    assert set(contents(tmp_path / "data")) == {"a.jpg", WRITTEN}


def test_a_record_never_reaches_out_of_its_folder(tmp_path):
    write_files(tmp_path, {"own.jpg": b"own", f"data/{WRITTEN}": f"../own.jpg\n{tmp_path}/own.jpg\n".encode()})
    write(tmp_path / "data", ["a.jpg"])
    assert (tmp_path / "own.jpg").read_bytes() == b"own"
