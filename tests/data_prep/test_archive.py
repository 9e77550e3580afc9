import zipfile

import pytest
from PIL import Image

from data_prep.archive import Archive, delete_images, save_image
from data_prep.source import SourceError
from fashion_model.images import open_image


@pytest.fixture(params=["folder", "zip"])
def archive(request, tmp_path):
    """The same files as a folder and as a zip."""
    folder = tmp_path / "files"
    save_image(Image.new("RGB", (600, 300), "red"), folder / "deep" / "er" / "a.jpg")
    save_image(Image.new("RGB", (60, 30), "blue"), folder / "z" / "a.jpg")
    (folder / "z" / "table.csv").write_text("\ufeffname\ncafé\n", encoding="utf-8")
    (folder / "latin.csv").write_bytes(b"caf\x81")  # no character of Windows-1252
    (folder / "text.jpg").write_text("no image")
    if request.param == "folder":
        return Archive(folder)
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder).as_posix())
    return Archive(tmp_path / "files.zip")


def test_files_are_found_by_name_in_any_subfolder(archive):
    assert list(archive) == ["a.jpg", "latin.csv", "table.csv", "text.jpg"]
    assert "a.jpg" in archive
    assert "z/a.jpg" not in archive
    assert archive.text("table.csv") == "name\ncafé\n"


def test_of_files_with_one_name_that_with_the_fewest_parents_is_read(archive):
    assert archive.image("a.jpg", max_side=400).getpixel((5, 5))[2] > 200


def test_images_are_downscaled_and_never_enlarged(archive):
    assert archive.image("a.jpg", max_side=20).size == (20, 10)
    assert archive.image("a.jpg", max_side=400).size == (60, 30)


def test_what_cannot_be_read_is_a_source_error(archive, tmp_path):
    for read, message in (
        (lambda: archive.text("nothing.csv"), "holds no nothing.csv"),
        (lambda: archive.text("latin.csv"), "latin.csv is neither UTF-8"),
        (lambda: archive.image("text.jpg", 400), "text.jpg: The file is not an image"),
        (lambda: Archive(tmp_path / "nowhere"), "neither a folder nor a zip file"),
    ):
        with pytest.raises(SourceError, match=message):
            read()


def test_deleting_images_keeps_other_files(tmp_path):
    save_image(Image.new("RGB", (8, 8)), tmp_path / "new" / "a.jpg")
    assert open_image(tmp_path / "new" / "a.jpg").size == (8, 8)
    (tmp_path / "new" / "notes.txt").write_text("kept")
    delete_images(tmp_path / "new")
    delete_images(tmp_path / "missing")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes.txt"]
