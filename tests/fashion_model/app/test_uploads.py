import zipfile

import pytest
from PIL import Image, ImageChops

from fashion_model.app import uploads as uploads_module
from fashion_model.app.result import caption
from fashion_model.app.uploads import MAX_BYTES, MAX_LIST_BYTES, TOO_LARGE, UploadError, label, photographs
from fashion_model.images import ImageError, open_image
from tests.conftest import PRODUCTS

PATHS = sorted((PRODUCTS / "images").iterdir())[:5]


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    """A zip of names and bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def outcome(upload):
    try:
        return upload.open().size
    except ImageError as error:
        return str(error)


def outcomes(path):
    with photographs([("x.zip", path)]) as uploads:
        return {upload.name.removeprefix("x.zip/"): outcome(upload) for upload in uploads}


def test_a_zip_stands_for_the_images_in_it_at_any_depth(tmp_path):
    data = PATHS[0].read_bytes()
    names = ["a.jpg", "b/c/d.PNG", "notes.txt", "inner.zip", "__MACOSX/._a.jpg", "../../e.jpg", "/etc/f.jpg"]
    path = zipped(tmp_path / "x.zip", dict.fromkeys(names, data) | {"g.jpg/": b""})
    with photographs([("first", PATHS[1]), ("X.ZIP", path)]) as uploads:
        assert [u.name for u in uploads] == [
            "first", "X.ZIP/a.jpg", "X.ZIP/b/c/d.PNG", "X.ZIP/../../e.jpg", "X.ZIP//etc/f.jpg"
        ]  # fmt: skip
        for upload in uploads[1:]:
            assert ImageChops.difference(upload.open(), open_image(PATHS[0])).getbbox() is None
    assert [p.name for p in tmp_path.rglob("*")] == ["x.zip"]  # nothing is unpacked, whatever the names say


def test_what_is_wrong_in_a_zip_is_said_of_each_file(tmp_path):
    data = PATHS[0].read_bytes()
    good = {"empty.jpg": b"", "letter.jpg": b"Dear Sir", "good.jpg": data, "bomb.png": bytes(MAX_BYTES + 1)}
    found = outcomes(zipped(tmp_path / "x.zip", good))
    assert found == {
        "empty.jpg": "The file is empty.",
        "letter.jpg": "The file is not an image in a format that can be read.",
        "good.jpg": open_image(PATHS[0]).size,
        "bomb.png": TOO_LARGE,
    }
    assert (tmp_path / "x.zip").stat().st_size < 100_000
    slow = zipped(tmp_path / "slow.zip", {"a.jpg": data}, zipfile.ZIP_LZMA)
    assert "compressed in a way" in outcomes(slow)["a.jpg"]


def test_a_zip_that_lies_about_its_sizes_is_not_believed(tmp_path):
    path = zipped(tmp_path / "x.zip", {"bomb.png": bytes(50 * 2**20)})
    content, size = path.read_bytes(), (50 * 2**20).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    assert outcomes(path) == {"bomb.png": "The file in the zip is damaged."}


def test_a_zip_with_a_damaged_or_encrypted_file_or_an_endless_list_is_told_of(tmp_path):
    content = bytearray(zipped(tmp_path / "x.zip", {"a.jpg": PATHS[0].read_bytes()}).read_bytes())
    entry = content.index(b"PK\1\2")
    damaged, encrypted = bytearray(content), bytearray(content)
    damaged[entry // 2] ^= 255
    encrypted[entry + 8] |= 1
    assert outcomes(write(tmp_path / "damaged.zip", damaged)) == {"a.jpg": "The file in the zip is damaged."}
    assert outcomes(write(tmp_path / "secret.zip", encrypted)) == {"a.jpg": "The file in the zip is encrypted."}
    for end in (len(content) - 10, entry, 0):
        assert "zip file is damaged" in outcomes(write(tmp_path / "cut.zip", content[:end]))["x.zip"]
    # As many files as fill just more than a list may have.
    listed = content[entry : content.index(b"PK\5\6")]
    listed *= MAX_LIST_BYTES // len(listed) + 1
    end = bytearray(content[content.index(b"PK\5\6") :])
    end[12:16], end[16:20] = len(listed).to_bytes(4, "little"), (0).to_bytes(4, "little")
    with pytest.raises(UploadError, match="list too many files"):
        outcomes(write(tmp_path / "long.zip", listed + end))


def test_a_zip_that_lists_the_same_bytes_several_times_is_refused(tmp_path):
    content = zipped(tmp_path / "x.zip", {"a.jpg": PATHS[0].read_bytes()}).read_bytes()
    entry, end = content.index(b"PK\1\2"), bytearray(content[content.index(b"PK\5\6") :])
    listed = content[entry : content.index(b"PK\5\6")] * 10
    end[8:12] = (10).to_bytes(2, "little") * 2
    end[12:16] = len(listed).to_bytes(4, "little")
    path = write(tmp_path / "overlap.zip", content[:entry] + listed + end)
    assert outcomes(path) == {"x.zip": "Files in the zip overlap each other."}


def test_a_batch_that_takes_too_long_ends_with_a_sentence(tiny_classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads_module, "MAX_SECONDS", -60)
    with photographs([("a.jpg", PATHS[0]), ("b.jpg", PATHS[1])]) as uploads:
        found = [str(result) for _, result, _ in label(tiny_classifier, uploads, lambda read: None)]
    assert len(found) == 2
    assert all("please send the rest again" in text for text in found)


def test_a_zip_that_is_a_folder_or_gone_is_told_of_and_costs_no_other(tmp_path):
    files = [("a.zip", tmp_path), ("b.zip", tmp_path / "nothing"), ("good.jpg", PATHS[0])]
    with photographs(files) as uploads:
        damaged = "The zip file is damaged, or it is none."
        assert list(map(outcome, uploads)) == [damaged, damaged, open_image(PATHS[0]).size]


def test_not_even_empty_zips_may_be_many(tmp_path):
    empty = zipped(tmp_path / "x.zip", {})
    message = "At most 500 files can be sent at a time; these are 501"
    with pytest.raises(UploadError, match=message), photographs([("x.zip", empty)] * 501):
        pass


def test_the_lists_of_all_zips_together_are_bounded(tmp_path):
    path = zipped(tmp_path / "x.zip", dict.fromkeys(map(str, range(7_000)), b""), zipfile.ZIP_STORED)
    with pytest.raises(UploadError, match="no photograph"), photographs([("x.zip", path)] * 2):
        pass
    with pytest.raises(UploadError, match="list too many files"), photographs([("x.zip", path)] * 3):
        pass


def write(path, content):
    path.write_bytes(content)
    return path


def test_none_and_too_many_are_errors(tmp_path):
    empty = zipped(tmp_path / "x.zip", {"notes.txt": b""})
    with pytest.raises(UploadError, match="no photograph"), photographs([("x.zip", empty)]):
        pass
    two = zipped(tmp_path / "y.zip", {"a.jpg": b"", "b.jpg": b""})
    with (
        pytest.raises(UploadError, match="At most 2 photographs"),
        photographs([("a", PATHS[0]), ("y.zip", two)], 2),
    ):
        pass


def test_each_upload_gets_its_answer_and_its_thumbnail_across_batches(tiny_classifier, tmp_path):
    Image.effect_noise((1000, 400), 50).save(tmp_path / "wide.jpg")
    (tmp_path / "letter.jpg").write_text("Dear Sir")
    paths = [*PATHS * 7, tmp_path / "letter.jpg", tmp_path / "wide.jpg"]
    read = []
    with photographs([(path.name, path) for path in paths]) as uploads:
        found = list(label(tiny_classifier, uploads, read.append))
    assert read == list(range(1, 38))
    assert [upload.name for upload, _, _ in found] == [path.name for path in paths]
    assert [thumbnail and thumbnail.size for _, _, thumbnail in found] == [
        *[open_image(path).size for path in PATHS * 7], None, (240, 96)
    ]  # fmt: skip
    assert isinstance(found[35][1], ImageError)
    expected = tiny_classifier.predict(PATHS)
    assert len({caption(prediction) for prediction in expected}) > 1
    for number, (_, prediction, thumbnail) in enumerate(found[:35]):
        assert caption(prediction) == caption(expected[number % 5])
        assert ImageChops.difference(thumbnail, open_image(PATHS[number % 5])).getbbox() is None
