import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fashion_model.app.disk import FOLDER_VARIABLE, clean, own_folder, result_file


def file(folder, name, age, size=10):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_old_files_and_the_oldest_of_too_many_go(tmp_path):
    file(tmp_path, "a/old.jpg", age=100)
    for age in range(10, 40, 10):
        file(tmp_path, f"b/{age}.jpg", age)
    outside = file(tmp_path.parent, "outside.jpg", age=100)
    (tmp_path / "link.jpg").symlink_to(outside)
    clean(tmp_path, max_age=50, max_bytes=10_000)
    assert names(tmp_path) == ["b/10.jpg", "b/20.jpg", "b/30.jpg", "link.jpg"]
    (tmp_path / "link.jpg").unlink()
    clean(tmp_path, max_age=50, max_bytes=20)
    assert names(tmp_path) == ["b/10.jpg", "b/20.jpg"]
    assert outside.exists()


def test_result_is_complete_and_stays_like_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    data = os.urandom(2**22)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: result_file("x.bin", data).stat().st_size, range(40))) == {len(data)}
    (path,) = (tmp_path / name for name in names(tmp_path))
    os.utime(path, (0, 0))
    assert result_file("x.bin", data) == path.resolve()
    assert path.read_bytes() == data
    assert time.time() - path.stat().st_mtime < 60


def test_empty_folders_go_once_they_are_old(tmp_path):
    file(tmp_path, "new/x.jpg", age=100)
    file(tmp_path, "old/x.jpg", age=100)
    for _ in range(2):
        os.utime(tmp_path / "old", (time.time() - 100,) * 2)
        clean(tmp_path, max_age=50)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_each_user_has_a_private_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = own_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ[FOLDER_VARIABLE] == str(folder.resolve())


def test_file_that_cannot_be_deleted_stops_nothing(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg"):
        file(tmp_path, name, age=100)
    unlink = Path.unlink

    def refuse(path, **options):
        if path.name == "a.jpg":
            raise PermissionError(13, "in use")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    clean(tmp_path, max_age=50)
    assert names(tmp_path) == ["a.jpg"]
