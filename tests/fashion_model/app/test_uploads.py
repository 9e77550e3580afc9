import zipfile

import pytest
from PIL import ImageChops

from fashion_model.app.uploads import MAX_BYTES, MAX_LIST_BYTES, TOO_LARGE, photographs
from fashion_model.images import ImageError, open_image
from tests.conftest import PRODUCTS

IMAGES = sorted((PRODUCTS / "images").iterdir())[:2]
DATA = IMAGES[0].read_bytes()
ENTRY, END = b"PK\1\2", b"PK\5\6"  # of the list of files in a zip, and after it
DAMAGED = "The zip file is damaged, or it is none."


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    """A zip of names and bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def outcome(open):
    try:
        return open().size
    except ImageError as error:
        return str(error)


def outcomes(path):
    with photographs([("x.zip", path)]) as (uploads, _):
        return {name.removeprefix("x.zip/"): outcome(open) for name, open in uploads}


def changed(path, change):
    """A zip with one photograph, changed: `change` gets its bytes, and where its list begins and ends."""
    content = bytearray(zipped(path, {"a.jpg": DATA}).read_bytes())
    path.write_bytes(change(content, content.index(ENTRY), content.index(END)))
    return path


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
            assert ImageChops.difference(open(), open_image(IMAGES[0])).getbbox() is None
    assert [p.name for p in tmp_path.rglob("*")] == ["x.zip"]  # nothing is unpacked, whatever the names say


def test_each_file_in_a_zip_has_its_own_fault(tmp_path):
    content = {"empty.jpg": b"", "letter.jpg": b"Dear Sir", "good.jpg": DATA, "bomb.png": bytes(MAX_BYTES + 1)}
    assert outcomes(zipped(tmp_path / "x.zip", content)) == {
        "empty.jpg": "The file is empty.",
        "letter.jpg": "The file is not an image in a format that can be read.",
        "good.jpg": open_image(IMAGES[0]).size,
        "bomb.png": TOO_LARGE,
    }
    assert (tmp_path / "x.zip").stat().st_size < 100_000
    slow = zipped(tmp_path / "slow.zip", {"a.jpg": DATA}, zipfile.ZIP_LZMA)
    assert "compressed in a way" in outcomes(slow)["a.jpg"]


def test_zip_with_false_sizes_is_not_believed(tmp_path):
    path = zipped(tmp_path / "x.zip", {"bomb.png": bytes(50 * 2**20)})
    content, size = path.read_bytes(), (50 * 2**20).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    assert outcomes(path) == {"bomb.png": "The file in the zip is damaged."}


def with_bit(content, position, bit):
    content[position] ^= bit
    return content


def listed_again(content, entry, end):
    tail = bytearray(content[end:])
    tail[8:12], tail[12:16] = (10).to_bytes(2, "little") * 2, (10 * (end - entry)).to_bytes(4, "little")
    return content[:entry] + content[entry:end] * 10 + tail


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content, entry, _: with_bit(content, entry // 2, 255), {"a.jpg": "The file in the zip is damaged."}),
        (lambda content, entry, _: with_bit(content, entry + 8, 1), {"a.jpg": "The file in the zip is encrypted."}),
        (lambda content, *_: content[:-10], {"x.zip": DAMAGED}),
        (lambda content, entry, _: content[:entry], {"x.zip": DAMAGED}),
        (lambda *_: b"", {"x.zip": DAMAGED}),
        (listed_again, {"x.zip": "Files in the zip overlap each other."}),
    ],
    ids=["damaged", "encrypted", "cut", "without a list", "empty", "overlapping"],
)
def test_zip_that_was_changed_is_a_sentence(tmp_path, change, expected):
    assert outcomes(changed(tmp_path / "x.zip", change)) == expected


@pytest.mark.parametrize(("byte", "bit"), [(40, 255), (6, 1), (8, 14)], ids=["damaged", "encrypted", "LZMA"])
def test_unreadable_file_is_passed_over(tmp_path, byte, bit):
    path = zipped(tmp_path / "x.zip", {"letter": DATA, "a.jpg": DATA})
    content = with_bit(bytearray(path.read_bytes()), byte, bit)
    path.write_bytes(with_bit(content, content.index(ENTRY) + byte + 2, bit) if byte < 40 else content)
    with photographs([("x.zip", path)]) as (uploads, passed_over):
        assert ([name for name, _ in uploads], passed_over) == (["x.zip/a.jpg"], 1)


def test_zip_that_is_gone_costs_no_other(tmp_path):
    files = [("a.zip", tmp_path), ("b.zip", tmp_path / "nothing"), ("good.jpg", IMAGES[0])]
    with photographs(files) as (uploads, _):
        assert [outcome(open) for _, open in uploads] == [DAMAGED, DAMAGED, open_image(IMAGES[0]).size]


def test_list_of_a_zip_is_bounded(tmp_path):
    def too_long(content, entry, end):
        tail, entries = bytearray(content[end:]), content[entry:end] * (MAX_LIST_BYTES // (end - entry) + 1)
        tail[12:16], tail[16:20] = len(entries).to_bytes(4, "little"), (0).to_bytes(4, "little")
        return entries + tail

    with pytest.raises(ImageError, match="list too many files"):
        outcomes(changed(tmp_path / "x.zip", too_long))


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        ({"notes.txt": b""}, 1, "no photograph"),
        ({}, 501, "At most 500 files can be sent at a time; these are 501"),
        (dict.fromkeys((f"{n}.jpg" for n in range(251)), b""), 2, "At most 500 photographs"),
        (dict.fromkeys(map(str, range(7_000)), b""), 2, "no photograph"),
        (dict.fromkeys(map(str, range(7_000)), b""), 3, "list too many files"),
    ],
)
def test_none_and_too_many_are_refused(tmp_path, content, count, message):
    path = zipped(tmp_path / "x.zip", content, zipfile.ZIP_STORED)
    with pytest.raises(ImageError, match=message), photographs([("x.zip", path)] * count):
        pass
