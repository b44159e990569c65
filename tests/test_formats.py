"""Images told by their bytes."""

import io
import struct
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from venice_batch import formats
from venice_batch.formats import EXTENSIONS, HEAD_BYTES, TAIL_BYTES, ImageKind, kind_of, recognise

SIZE = (48, 33)


def image(name, **options):
    file = io.BytesIO()
    Image.new("RGB", SIZE, (200, 40, 40)).save(file, name, **options)
    return file.getvalue()


def tell(data):
    return recognise(data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data))


MADE = {
    "png": image("png"), "jpeg": image("jpeg"), "progressive jpeg": image("jpeg", progressive=True),
    "gif": image("gif"), "webp": image("webp"), "lossless webp": image("webp", lossless=True),
    "webp with metadata": image("webp", exif=b"Exif\0\0x"),
}  # fmt: skip


@pytest.mark.parametrize("case", MADE)
def test_every_format_is_told_with_its_size(case):
    assert tell(MADE[case]) == ImageKind(next(name for name in EXTENSIONS if name in case), *SIZE)


def test_the_extension_is_the_usual_one():
    assert [ImageKind(name, 1, 1).extension for name in ("png", "jpeg", "webp", "gif")] == ["png", "jpg", "webp", "gif"]


@pytest.mark.parametrize("case", MADE)
def test_half_an_image_is_none(case):
    data = MADE[case]
    assert tell(data[: len(data) // 2]) is None


@pytest.mark.parametrize("case", MADE)
def test_an_image_without_its_last_two_bytes_is_none(case):
    assert tell(MADE[case][:-2]) is None


def test_a_png_without_the_last_byte_of_its_checksum_is_none():
    assert tell(MADE["png"][:-1]) is None


def test_a_webp_may_miscount_its_padding_by_one_byte():
    data = MADE["webp"]
    assert tell(data + b"\0") is not None
    assert tell(data + b"\0\0") is None


def test_a_jpeg_with_the_longest_exif_segment_shows_its_size():
    exif = b"\xff\xe1" + (65_535).to_bytes(2, "big") + b"x" * 65_533
    data = MADE["jpeg"]
    assert tell(data[:2] + exif + data[2:]) == ImageKind("jpeg", *SIZE)


@pytest.mark.parametrize(
    "data",
    [b"", b"<!doctype html>", b'{"images":[]}', b"RIFF\x04\0\0\0WAVE", b"\x89PNG", b"GIF88a;", b"BM", b"\0" * 99],
)
def test_what_is_no_image_is_none(data):
    assert tell(data) is None


@pytest.mark.parametrize(
    "error", [ValueError("Invalid PNG file"), struct.error("unpack requires 4 bytes"), TypeError()]
)
def test_a_header_that_the_parser_gives_up_on_is_none(monkeypatch, error):
    def give_up(file):
        raise error

    monkeypatch.setattr(formats.imagesize, "get", give_up)
    assert tell(MADE["png"]) is None


def test_a_png_without_pixels_is_none():
    data = bytearray(MADE["png"])
    data[16:20] = bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert tell(bytes(data)) is None


STARTS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x01", b"RIFF\0\0\0\0WEBP", b"GIF89a"]
ENDS = [b"", b"IEND\xaeB`\x82", b"\xff\xd9", b";"]


@given(st.sampled_from(STARTS), st.binary(max_size=60), st.sampled_from(ENDS))
@example(b"GIF89a", b"", b";")
@example(b"\xff\xd8\xff", b"", b"\xff\xd9")
@example(b"\x89PNG\r\n\x1a\n", b"", b"IEND\xaeB`\x82")
def test_garbage_after_an_images_first_bytes_never_raises(start, middle, end):
    data = start + middle + end
    if start.startswith(b"RIFF"):
        data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    found = tell(data)
    assert found is None or (found.width > 0 and found.height > 0)


@given(st.sampled_from(sorted(MADE)), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damage_anywhere_never_raises(case, place, damage):
    data = bytearray(MADE[case])
    data[place : place + len(damage)] = damage
    found = tell(bytes(data))
    assert found is None or found.format in EXTENSIONS


def box(name, content):
    return struct.pack(">I", 8 + len(content)) + name + content


def extent(width, height):
    return box(b"ispe", struct.pack(">III", 0, width, height))


def boxed(brand, *others, sizes=((48, 33),)):
    return box(b"ftyp", brand + bytes(4) + b"".join(others)) + b"".join(extent(*size) for size in sizes)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (image("avif"), ImageKind("avif", *SIZE)),
        (boxed(b"heic", b"mif1"), ImageKind("heic", *SIZE)),
        (boxed(b"mif1", b"avif"), ImageKind("avif", *SIZE)),
        (boxed(b"heix", sizes=((160, 120), (4032, 3024), (512, 512))), ImageKind("heic", 4032, 3024)),
        (boxed(b"isom", b"mp42"), None),
        (boxed(b"heic", sizes=()), None),
        (b"\0\0\0\x18ftyp", None),
    ],
)
def test_pictures_in_boxes_are_known_by_brand_and_largest_size(data, kind):
    assert kind_of(io.BytesIO(data)) == kind
