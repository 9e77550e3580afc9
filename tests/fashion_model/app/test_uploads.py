"""Files of visitors: zips, and the folder of uploads and results."""

import os
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import ImageChops

from fashion_model.app.disk import FOLDER_VARIABLE, clean, own_folder, result_file
from fashion_model.app.uploads import MAX_BYTES, MAX_LIST_BYTES, TOO_LARGE, photographs
from fashion_model.classifier import DETAIL
from fashion_model.images import ImageError, open_image
from tests.conftest import PRODUCTS

IMAGES = sorted((PRODUCTS / "images").iterdir())[:2]
DATA = IMAGES[0].read_bytes()
ENTRY, END = b"PK\1\2", b"PK\5\6"  # of the list of files in a zip, and after it


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    """A zip of names and bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def outcome(open):
    try:
        return open(DETAIL).size
    except ImageError as error:
        return str(error)


def outcomes(path):
    with photographs([("x.zip", path)]) as (uploads, _):
        return {name.removeprefix("x.zip/"): outcome(open) for name, open in uploads}


def test_zip_stands_for_the_photographs_in_it(tmp_path):
    taken = ["a.jpg", "b/c/d.PNG", "e.jpg?v=169", "no ending", "../../f.jpg", "/etc/g.jpg"]
    others = ["notes.txt", "inner.zip", "raw.cr2", "a.jpg.0123456789ab.color.png", "letter"]
    hidden = ["__MACOSX/._a.jpg", ".trash/h.jpg", "Thumbs.db", "@eaDir/a.jpg"]
    content = dict.fromkeys([*taken, *others, *hidden], DATA) | {"i.jpg/": b"", "letter": b"Dear Sir"}
    path = zipped(tmp_path / "x.zip", content)
    with photographs([("first", IMAGES[1]), ("X.ZIP", path)]) as (uploads, passed_over):
        assert [name for name, _ in uploads] == ["first", *[f"X.ZIP/{name}" for name in taken]]
        assert passed_over == len(others)
        for _, open in uploads[1:]:
            assert ImageChops.difference(open(DETAIL), open_image(IMAGES[0])).getbbox() is None
    assert [p.name for p in tmp_path.rglob("*")] == ["x.zip"]  # nothing is unpacked, whatever the names say


def test_each_file_in_a_zip_has_its_own_fault(tmp_path):
    content = {"letter.jpg": b"Dear Sir", "good.jpg": DATA, "bomb.png": bytes(MAX_BYTES + 1)}
    assert outcomes(zipped(tmp_path / "x.zip", content)) == {
        "letter.jpg": "The file is not an image in a format that can be read.",
        "good.jpg": open_image(IMAGES[0]).size,
        "bomb.png": TOO_LARGE,
    }
    slow = zipped(tmp_path / "slow.zip", {"a.jpg": DATA}, zipfile.ZIP_LZMA)
    assert "compressed in a way" in outcomes(slow)["a.jpg"]


def test_zip_with_false_sizes_is_not_believed(tmp_path):
    path = zipped(tmp_path / "x.zip", {"bomb.png": bytes(50 * 2**20)})
    content, size = path.read_bytes(), (50 * 2**20).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    assert outcomes(path) == {"bomb.png": "The file in the zip is damaged."}


def test_zip_that_was_changed_is_a_sentence(tmp_path):
    """Cut off; with overlapping files; with a list that is too long."""
    path = zipped(tmp_path / "x.zip", {"a.jpg": DATA})
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert outcomes(path) == {"x.zip": "The zip file is damaged, or it is none."}
    entry, end = content.index(ENTRY), content.index(END)
    tail = bytearray(content[end:])
    tail[8:12], tail[12:16] = (10).to_bytes(2, "little") * 2, (10 * (end - entry)).to_bytes(4, "little")
    path.write_bytes(content[:entry] + content[entry:end] * 10 + tail)
    assert outcomes(path) == {"x.zip": "Files in the zip overlap each other."}
    tail, entries = bytearray(content[end:]), content[entry:end] * (MAX_LIST_BYTES // (end - entry) + 1)
    tail[12:16], tail[16:20] = len(entries).to_bytes(4, "little"), (0).to_bytes(4, "little")
    path.write_bytes(entries + tail)
    with pytest.raises(ImageError, match="list too many files"):
        outcomes(path)


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        ({"notes.txt": b""}, 1, "no photograph"),
        ({}, 501, "At most 500 files can be sent at a time; these are 501"),
        (dict.fromkeys((f"{n}.jpg" for n in range(251)), b""), 2, "At most 500 photographs"),
        (dict.fromkeys(map(str, range(7_000)), b""), 3, "list too many files"),
    ],
)
def test_none_and_too_many_are_refused(tmp_path, content, count, message):
    path = zipped(tmp_path / "x.zip", content, zipfile.ZIP_STORED)
    with pytest.raises(ImageError, match=message), photographs([("x.zip", path)] * count):
        pass


def file(path, age):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(10))
    os.utime(path, (time.time() - age,) * 2)
    return path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_old_files_and_the_oldest_of_too_many_go(tmp_path):
    uploads = tmp_path / "uploads"
    outside = file(tmp_path / "outside.jpg", age=100)
    file(uploads / "old" / "x.jpg", age=100)
    for age in (10, 20, 30):
        file(uploads / f"{age}.jpg", age)
    (uploads / "link.jpg").symlink_to(outside)
    clean(uploads, max_age=50)
    assert names(uploads) == ["10.jpg", "20.jpg", "30.jpg", "link.jpg"]
    assert (uploads / "old").exists()  # it changed a moment ago: another thread may be about to write into it
    (uploads / "link.jpg").unlink()
    os.utime(uploads / "old", (time.time() - 100,) * 2)
    clean(uploads, max_age=50, max_bytes=20)
    assert names(uploads) == ["10.jpg", "20.jpg"]
    assert not (uploads / "old").exists()
    assert outside.exists()


def test_result_is_complete_and_stays_like_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    data = os.urandom(2**22)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: result_file("x.bin", data).stat().st_size, range(40))) == {len(data)}
    (path,) = (tmp_path / name for name in names(tmp_path))
    os.utime(path, (0, 0))
    assert result_file("x.bin", data) == path.resolve()
    assert time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize("named", [True, False])
def test_each_user_has_a_private_folder(tmp_path, monkeypatch, named):
    """Of its own: what else the folder that is named holds is somebody's."""
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if named:
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    folder = own_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ[FOLDER_VARIABLE] == str(folder.resolve())
