"""Odd, broken and hostile files, made from one photograph."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fashion_model.images import ORIENTATION  # and HEIF for Pillow

PHOTOGRAPH = Path(__file__).parent / "data" / "phone" / "019a8ba6-9048-40ca-8d2b-c9dfaaa00286.jpg"
# Which of Pillow's formats the app opens, and others.
OPENED = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "MPO", "HEIF")
OTHERS = ("DDS", "DIB", "EPS", "ICO", "JPEG2000", "PCX", "PDF", "PPM", "SGI", "TGA")
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "GIF": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
}
NAMES = (
    *("with spaces.jpg", "emoji 👗.jpg", "new\nline.jpg", "-leading-dash.jpg", "=cmd.jpg", "..jpg", "<b>bold.jpg"),
    *("quote'\".jpg", "%2e%2e%2f.jpg", "ends with a dot.jpg.", "no ending", "日本語.jpg", "tab\t.jpg"),
    f"{'long' * 50}.jpg",
)


def corpus() -> dict[str, bytes]:
    """Name → content."""
    image = Image.open(PHOTOGRAPH).convert("RGB")
    jpeg = PHOTOGRAPH.read_bytes()
    png = saved(image.resize((60, 80)), "PNG")
    files = of_every_format(image.size)
    files["format-hidden-behind-another-name.png"] = jpeg
    files |= {f"other-{name.lower()}.jpg": saved(image.resize((64, 64)), name) for name in OTHERS}
    for orientation in (*range(10), 65535):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        files[f"orientation-{orientation}.jpg"] = saved(image, "JPEG", exif=exif)
    files["progressive.jpg"] = saved(image, "JPEG", progressive=True)
    frames = [image.resize((60, 80)).rotate(turn) for turn in (0, 90, 180)]
    for name in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO", "HEIF"):
        files[f"animated.{name.lower()}"] = saved(frames[0], name, save_all=True, append_images=frames[1:])
    for size in ((1, 1), (1, 10_000), (10_000, 1), (2, 2)):
        files[f"size-{size[0]}-{size[1]}.png"] = saved(image.resize(size), "PNG")
    files |= bombs() | {f"cut-{i}0.jpg": jpeg[: len(jpeg) * i // 10] for i in range(1, 10)}
    files |= {f"cut-{i}0.png": png[: len(png) * i // 10] for i in range(1, 10)}
    files |= dict.fromkeys(NAMES, jpeg)
    return files | no_images(jpeg)


def of_every_format(size: tuple[int, int]) -> dict[str, bytes]:
    """The photograph in all formats that are opened, and in their modes."""
    image = Image.open(PHOTOGRAPH).convert("RGB").resize(size)
    files = {f"format-{name.lower()}.{name.lower()}": saved(image, name) for name in OPENED}
    for name, modes in MODES.items():
        for mode in modes:
            files[f"mode-{name}-{mode}.{name.lower()}".replace(";", "")] = saved(of_mode(image, mode), name)
    return files


def no_images(jpeg: bytes) -> dict[str, bytes]:
    return {
        "empty.jpg": b"",
        "zeros.jpg": bytes(10_000),
        "noise.jpg": np.random.default_rng(0).bytes(10_000),
        "page.jpg": b"<!doctype html><script>alert(1)</script>",
        "drawing.svg.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "document.pdf.jpg": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "program.jpg": b"\x7fELF" + bytes(100),
        "script.jpg": b"#!/bin/sh\nrm -rf /\n",
        "header-only.jpg": jpeg[:20],
        "text-after.jpg": jpeg + b"<?php system('id'); ?>",
        "text-before.jpg": b"hello " + jpeg,
        "bytes-changed.jpg": jpeg[:600] + bytes(200) + jpeg[800:],
    }


def bombs() -> dict[str, bytes]:
    """Small files with as many pixels as their formats allow, or nearly."""
    small = Image.new("L", (1, 1))
    gif, tiff = saved(small, "GIF"), saved(small, "TIFF")
    return {
        "bomb-64-megapixels.png": gray_png(8_000, 8_000),
        "bomb-100-megapixels.png": gray_png(10_000, 10_000),
        "bomb-900-megapixels.png": gray_png(30_000, 30_000),
        "bomb-lie.png": gray_png(2**31 - 1, 2**31 - 1, rows=1),
        "bomb.gif": gif.replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 65_000, 65_000)),
        "bomb.tiff": tiff.replace(struct.pack("<HII", 4, 1, 1), struct.pack("<HII", 4, 1, 60_000)),
        "bomb.webp": saved(Image.new("L", (6_000, 5_000)), "WEBP", lossless=True, quality=0, method=0),
        "bomb-12-megapixels.png": gray_png(4_000, 3_000),
    }


def gray_png(width: int, height: int, rows: int | None = None) -> bytes:
    """Black, of one bit; with `rows` fewer rows than it says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row, packer = bytes(1 + -(-min(width, 2**20) // 8)), zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def of_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode.startswith("I"):
        levels = np.asarray(image.convert("L"))
        return Image.fromarray(levels.astype(np.uint16) * 257 if mode == "I;16" else levels.astype(np.int32) * 257)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    return image.convert(mode)


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()
