"""Damaged copies of real files: whatever is in a file, it is read or is an ImageError.

FUZZ_CASES sets how many are tried; `python -m tests.endurance` tries many.
"""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_model import ImageError
from fashion_model.classifier import DETAIL
from fashion_model.images import open_image
from tests.corpus import PHOTOGRAPH, of_every_format

CASES = int(os.environ.get("FUZZ_CASES", 300))
FILES = [content for content in of_every_format((60, 80)).values() if len(content) < 50_000]
FILES.append(PHOTOGRAPH.read_bytes())
VALUES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00")


@st.composite
def damaged(draw):
    """A file with up to eight parts overwritten, cut out or doubled, most of them in its first kilobyte."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 8))):
        last = max(len(data) - 1, 0)
        start = draw(st.one_of(st.integers(0, min(last, 1000)), st.integers(0, last)))
        change = draw(st.sampled_from(("overwrite", "cut", "double", "end")))
        if change == "overwrite":
            value = draw(st.one_of(st.sampled_from(VALUES), st.binary(min_size=1, max_size=8)))
            data[start : start + len(value)] = value
        elif change == "cut":
            del data[start : start + draw(st.integers(1, 200))]
        elif change == "double":
            data[start:start] = data[start : start + draw(st.integers(1, 200))]
        else:
            del data[start:]
    return bytes(data)


@settings(max_examples=CASES, derandomize=CASES <= 300, deadline=None, suppress_health_check=list(HealthCheck))
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
