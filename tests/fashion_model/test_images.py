"""Photographs and files that are none. FUZZ_CASES sets how many damaged ones are tried."""

import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fashion_model import ImageError
from fashion_model.classifier import DETAIL
from fashion_model.images import find_images, open_image
from tests.conftest import PRODUCTS, ROOT
from tests.corpus import of_every_format
from tests.corpus import saved as encoded

PHOTOGRAPH = next(iter(sorted((PRODUCTS / "images").iterdir())))
ICC = ROOT / "tests" / "data" / "icc"
FUZZ_CASES = int(os.environ.get("FUZZ_CASES", 300))


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_as_pillow_turns_them(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.open(PHOTOGRAPH).convert("RGB"), "PNG", exif=exif)
    opened = open_image(data)
    assert (pixels(opened) == pixels(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()
    assert open_image(opened).size == opened.size  # it is not turned again


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 128))
    assert pixels(open_image(encoded(image, "PNG"))).tolist() == [[[255, 0, 0], [255, 127, 127], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (np.array([[0, 2570, 51400]], dtype=np.uint16), {}, [0, 10, 200]),
        (np.array([[0, 32767]], dtype=np.uint16), {"transparency": 0}, [255, 127]),
        (np.array([[0, 100_000, 200_000]], dtype=np.int32), None, [0, 128, 255]),
        (np.array([[0, 0.5, 1]], dtype=np.float32), None, [0, 128, 255]),
        (np.array([[0, 32768, 65535]], dtype=np.float32), None, [0, 128, 255]),
    ],
)
def test_grays_of_more_bits_are_scaled(values, options, expected):
    data = encoded(Image.fromarray(values), "TIFF" if options is None else "PNG", **options or {})
    assert np.abs(pixels(open_image(data))[0, :, 0] - expected).max() <= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"This is a letter.", "not an image"),
        *((encoded(Image.open(PHOTOGRAPH), name)[:-99], "damaged or cut off") for name in ("PNG", "JPEG", "TIFF")),
        (encoded(Image.fromarray(np.array([[np.nan, 1]], dtype=np.float32)), "TIFF"), "values that are not numbers"),
        # Of a format that would start a program.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not an image in a format"),
    ],
)
def test_file_that_is_no_photograph_is_refused(data, message):
    Image.init()  # as if a program had registered all of Pillow's formats
    with pytest.raises(ImageError, match=message):
        open_image(data)


@pytest.mark.parametrize(
    ("file_format", "size", "message"),
    [
        *((name, (5001, 5001), "25 million pixels. Please make it smaller") for name in ("PNG", "WEBP", "TIFF")),
        ("JPEG", (8001, 8001), "64 million pixels"),
        ("PNG", (30_001, 1), "30,000 pixels"),
    ],
)
def test_picture_beyond_the_limit_is_refused(file_format, size, message):
    data = encoded(Image.new("L" if min(size) > 1 else "1", size), file_format)
    with pytest.raises(ImageError, match=message):
        open_image(data)


def test_callers_image_stays_at_its_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(open_image(data))[0, 0].tolist() == [255, 0, 0]  # the first frame
    animation = Image.open(io.BytesIO(data))
    animation.seek(1)
    assert pixels(open_image(animation))[0, 0].tolist() == [0, 0, 255]
    assert animation.tell() == 1


def test_path_that_is_no_file_is_an_error(tmp_path):
    for path, message in (("no.jpg", "No such file"), (".", "directory"), ("x" * 300, "read"), ("\0", "read")):
        with pytest.raises(ImageError, match=message):
            open_image(tmp_path / path)


def test_folders_are_read_in_order_to_any_depth(tmp_path):
    """What is a photograph is told by its name, or by its content where that does not tell."""
    photographs = ("a/b/d.webp", "a/c.png", "b.JPG", "download", "e.jpg?v=1699999999", "f.jpg.1")
    others = ("a/notes.txt", "b.raw", "letter", "x.jpg.0123456789ab.color.png")
    hidden = (".thumbnails/a.jpg", "__MACOSX/b.jpg", "@eaDir/c.jpg", "._b.JPG", "Thumbs.db")
    for name in (*photographs, *others, *hidden):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"Dear Sir" if name == "letter" else PHOTOGRAPH.read_bytes())
    given, passed_over = tmp_path / "a" / "notes.txt", []
    paths = find_images([given, tmp_path], pass_over=passed_over.append)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == ["a/notes.txt", *photographs]
    assert [p.relative_to(tmp_path).as_posix() for p in passed_over] == list(others)


def test_linked_folders_are_entered_once(tmp_path):
    for name in ("a/1.jpg", "b/2.jpg", "b/c/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round.jpg").symlink_to(tmp_path)
    (tmp_path / "d").symlink_to(tmp_path.parent / f"{tmp_path.name} elsewhere")
    (tmp_path / "e").symlink_to(tmp_path / "d")
    (tmp_path / "d").resolve().mkdir()
    (tmp_path / "d" / "4.jpg").touch()
    (tmp_path / "a" / "link.jpg").symlink_to(tmp_path / "b" / "2.jpg")
    (tmp_path / "a" / "nowhere.jpg").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")  # reading it would wait for ever
    paths = find_images([tmp_path], leave_out=tmp_path / "b" / "c")
    expected = ["a/1.jpg", "a/link.jpg", "a/nowhere.jpg", "b/2.jpg", "d/4.jpg"]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == expected


@pytest.mark.parametrize("other", ["red-tshirts-wide-gamut.jpg", "red-tshirts-swapped-red-and-green.png"])
def test_colors_are_what_their_profile_says(other):
    opened, expected = pixels(open_image(ICC / other)), pixels(open_image(ICC / "red-tshirts.jpg"))
    as_stored = pixels(Image.open(ICC / other).convert("RGB"))
    assert np.abs(opened - expected).mean() < min(3, np.abs(as_stored - expected).mean() / 2)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_unfitting_profile_is_passed_over(mode):
    image = Image.open(PHOTOGRAPH).convert(mode)
    whole = Image.open(ICC / "red-tshirts-wide-gamut.jpg").info["icc_profile"]
    for profile in (whole[:200], b"no profile", *([whole] if mode != "RGB" else [])):
        expected = pixels(open_image(encoded(image, "JPEG")))
        assert np.abs(pixels(open_image(encoded(image, "JPEG", icc_profile=profile))) - expected).max() <= 1


def test_large_jpeg_is_decoded_smaller():
    large = Image.open(PHOTOGRAPH).convert("RGB").resize((900, 1200))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(large, "JPEG", quality=95)
    for least, size in ((None, (900, 1200)), (500, (900, 1200)), (450, (450, 600)), (1, (113, 150))):
        photograph = open_image(data, least)
        assert photograph.size == size
        assert photograph.info["size"] == (900, 1200)
        assert np.abs(pixels(photograph) - pixels(large.resize(size, Image.Resampling.BOX))).mean() < 2
    turned = open_image(encoded(large, "JPEG", exif=exif), 450)
    assert (turned.size, turned.info["size"]) == ((600, 450), (1200, 900))


FILES = [content for content in of_every_format((60, 80)).values() if len(content) < 50_000]
FILES.append(PHOTOGRAPH.read_bytes())
VALUES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00")


@st.composite
def damaged(draw):
    """A file with up to eight parts overwritten, cut out or inserted, most of them in its first kilobyte."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.one_of(st.integers(0, min(len(data), 1000)), st.integers(0, len(data))))
        doubled = st.just(bytes(data[start : start + 200]))
        value = draw(st.one_of(st.sampled_from(VALUES), st.binary(max_size=8), doubled))
        lost = draw(st.sampled_from((0, len(value), 50, len(data))))
        data[start : start + lost] = value
    return bytes(data)


@settings(
    max_examples=FUZZ_CASES, derandomize=FUZZ_CASES <= 300, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(damaged())
def test_damaged_file_is_read_or_an_image_error(data):
    try:
        image = open_image(data, DETAIL)
    except ImageError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        assert image.width * image.height > 0
