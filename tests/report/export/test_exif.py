"""The user's comment in EXIF: added to what is there, read from anybody's file."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from venice_batch.errors import EmbedError
from venice_batch.report.export.exif import comment, with_comment


def written(order="<", **tags):
    """EXIF as Pillow writes it, without its prefix."""
    found = Image.Exif()
    found.endian = order
    found[0x010F] = "a camera"
    found[0x9C9B] = b"x" * 40
    if tags.get("deep", True):
        found.get_ifd(0x8769)[0x829A] = TiffImagePlugin.IFDRational(1, 125)
        found.get_ifd(0x8769)[0x927C] = b"maker's own"
    return found.tobytes().removeprefix(b"Exif\0\0")


def read(tiff):
    found = Image.Exif()
    found.load(tiff)
    return found


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_other_tags_stay(order, deep):
    before = written(order, deep=deep)
    after = with_comment(before, "a cat: ü 猫")
    assert comment(after) == "a cat: ü 猫"
    assert comment(before) is None
    assert after[8 : len(before)] == before[8:], "places in it hold"
    found = read(after)
    assert (found[0x010F], found[0x9C9B]) == ("a camera", b"x" * 40)
    if deep:
        assert found.get_ifd(0x8769)[0x927C] == b"maker's own"
    assert comment(with_comment(after, "dog")) == "dog"


def test_exif_can_begin_with_the_comment():
    assert comment(with_comment(b"", "dog")) == "dog"
    assert read(with_comment(b"", "dog")).get_ifd(0x8769)[0x9286] == b"UNICODE\0\0d\0o\0g"


@pytest.mark.parametrize(
    ("order", "value", "text"),
    [
        ("<", b"UNICODE\0" + "Steps: 1".encode("utf-16-le"), "Steps: 1"),
        ("<", b"UNICODE\0" + "Steps: 1".encode("utf-16-be"), "Steps: 1"),
        (">", b"UNICODE\0" + "猫猫".encode("utf-16-be"), "猫猫"),
        (">", b"ASCII\0\0\0Steps: 1\0\0", "Steps: 1"),
        (">", bytes(8) + "Steps: ü".encode(), "Steps: ü"),
        (">", b"UNICODE\0", None),
    ],
)
def test_comments_of_all_writers_are_read(order, value, text):
    found = Image.Exif()
    found.endian = order
    found.get_ifd(0x8769)[0x9286] = value
    assert comment(found.tobytes().removeprefix(b"Exif\0\0")) == text


@pytest.mark.parametrize(
    "tiff",
    [
        b"x",
        b"MM\0*\0\0\0\x00" + bytes(20),
        b"MM\0*\0\0\0\x08\xff\xff" + bytes(20),
        b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x8769, 4, 1, 9999) + bytes(4),
    ],
)
def test_damaged_exif_is_told(tiff):
    assert comment(tiff) is None
    with pytest.raises(EmbedError, match="its EXIF is damaged"):
        with_comment(tiff, "a")


def test_a_comment_behind_the_end_is_none():
    data = with_comment(b"", "a cat")
    assert comment(data[:8] + b"") is None
    place = data.index(struct.pack(">H", 0x9286))
    assert comment(data[: place + 8] + struct.pack(">I", len(data)) + data[place + 12 :]) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data):
    comment(data)
    comment(b"II*\0" + data)
    comment(BytesIO(b"MM\0*\0\0\0\x08" + data).getvalue())
