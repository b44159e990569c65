"""Texts in PNG, JPEG and WebP: everything else stays byte for byte; hostile files cost no time and no memory."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from venice_batch.errors import EmbedError
from venice_batch.report.export import image_text
from venice_batch.report.export.image_text import MAX_TEXT_BYTES, Texts, read_texts, with_texts

TEXTS = Texts("some parameters", b"MM\0*exif", b"<xmp/>")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def made(kind, **options):
    data = BytesIO()
    Image.effect_noise((32, 16), 60).convert("RGB").save(data, kind, **options)
    return data.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return SIGNATURE + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def png_chunks(data):
    at, found = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append(data[at : at + 12 + length])
        at += 12 + length
    return found


def test_png_keeps_its_other_chunks_in_their_order():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "old")
    info.add_text("Comment", "kept")
    info.add_itxt("XML:com.adobe.xmp", "<old/>")
    before = made("PNG", pnginfo=info, dpi=(72, 72))
    after = with_texts(before, TEXTS)
    assert read_texts(BytesIO(after)) == TEXTS
    ours = [b"parameters", b"XML:com.adobe.xmp", b"MM\0*exif"]
    assert [one for one in png_chunks(after) if not any(name in one[:40] for name in ours)] == [
        one for one in png_chunks(before) if not any(name in one[:40] for name in ours)
    ]
    with Image.open(BytesIO(after)) as opened:
        opened.load()
        assert opened.text["Comment"] == "kept"
        assert opened.text["parameters"] == "some parameters"
    assert with_texts(before + b"behind the end", TEXTS) == after + b"behind the end"
    assert with_texts(before, Texts()) == before


def test_png_text_that_is_not_latin_is_utf_8():
    after = with_texts(made("PNG"), Texts("猫"))
    assert b"iTXtparameters" in after
    assert read_texts(BytesIO(after)).parameters == "猫"


@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_packed_text_is_read_and_a_bomb_is_not(kind):
    def text(packed):
        middle = b"\0" if kind == "zTXt" else b"\1\0\0\0"
        return chunk(kind.encode(), b"parameters\0" + middle + packed)

    assert read_texts(BytesIO(png(text(zlib.compress(b"a cat"))))).parameters == "a cat"
    bomb = zlib.compress(bytes(200 * MAX_TEXT_BYTES))
    assert len(bomb) < MAX_TEXT_BYTES
    assert read_texts(BytesIO(png(text(bomb), text(zlib.compress(b"after it"))))).parameters == "after it"
    assert read_texts(BytesIO(png(text(b"damaged")))).parameters == ""
    assert read_texts(BytesIO(png(*[text(bomb)] * 16, text(zlib.compress(b"a cat"))))).parameters == ""


def test_png_text_that_is_damaged_or_too_long_is_passed_over():
    for body in (b"parameters", b"parameters\0\1", b"parameters\0\0", b"parameters\0\0\0\0\0\xff"):
        assert read_texts(BytesIO(png(chunk(b"iTXt", body)))) == Texts()
    assert read_texts(BytesIO(png(chunk(b"tEXt", b"parameters\0" + b"x" * MAX_TEXT_BYTES)))) == Texts()


def test_jpeg_keeps_its_other_segments_in_their_order():
    before = made("JPEG", comment=b"kept", dpi=(72, 72), exif=b"Exif\0\0MM\0*old", xmp=b"<old/>")
    after = with_texts(before, TEXTS)
    assert read_texts(BytesIO(after)) == TEXTS._replace(parameters="")
    assert after.startswith(b"\xff\xd8\xff\xe0"), "JFIF stays in front"
    rest = before.replace(b"\xff\xe1\0\x0fExif\0\0MM\0*old", b"")
    start = rest.index(b"\xff\xe1")
    rest = rest[:start] + rest[start + 2 + int.from_bytes(rest[start + 2 : start + 4]) :]
    bodies = (b"Exif\0\0" + TEXTS.exif, b"http://ns.adobe.com/xap/1.0/\0" + TEXTS.xmp)
    ours = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies]
    for one in ours:
        assert after.count(one) == 1
        after = after.replace(one, b"")
    assert after == rest


def test_jpeg_with_padding_and_lone_markers_is_read_and_written():
    plain = made("JPEG")
    odd = plain[:2] + b"\xff\xff\xff\x01\xff\xff\xfe\0\x04hi" + plain[2:]
    after = with_texts(odd, TEXTS)
    assert read_texts(BytesIO(after)) == TEXTS._replace(parameters="")
    assert b"\xff\xff\xfe\0\x04hi" in after


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*old", "xmp": b"<old/>"}])
def test_webp_gets_the_header_that_texts_need(options):
    before = made("WEBP", **options)
    after = with_texts(before, TEXTS)
    assert read_texts(BytesIO(after)) == TEXTS._replace(parameters="")
    assert after[12:16] == b"VP8X"
    assert int.from_bytes(after[4:8], "little") + 8 == len(after)
    assert after.index(b"EXIF") < after.index(b"XMP ")
    with Image.open(BytesIO(after)) as opened:
        assert opened.size == (32, 16)
    with_exif = with_texts(with_texts(before, Texts(xmp=b"<x/>")), Texts(exif=b"MM\0*"))
    assert read_texts(BytesIO(with_exif)) == Texts("", b"MM\0*", b"<x/>")
    assert with_exif.index(b"EXIF") < with_exif.index(b"XMP ")
    assert with_texts(before + b"\0more", TEXTS) == after + b"\0more"


def test_a_webp_with_alpha_says_so():
    data = BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(data, "WEBP", lossless=True)
    after = with_texts(data.getvalue(), TEXTS)
    assert after[20] & 0x10
    with Image.open(BytesIO(after)) as opened:
        assert opened.mode == "RGBA"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_short_is_refused(kind):
    data = made(kind)
    for end in range(12, min(len(data) - 1, 400), 7):
        read_texts(BytesIO(data[:end]))
        try:
            after = with_texts(data[:end], TEXTS)
        except EmbedError:
            continue
        assert kind == "JPEG", "whose end is behind the pixels"
        assert read_texts(BytesIO(after)).xmp == TEXTS.xmp
    with pytest.raises(EmbedError, match=f"the {'WebP' if kind == 'WEBP' else kind} file is damaged"):
        with_texts(data[:30], TEXTS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"VP8 \x0a\0\0\0" + bytes(10),
        b"VP8L\x05\0\0\0" + bytes(6),
        b"VP8 \x0a\0\0\0" + b"\0\0\0\x9d\x01\x2a\0\0\0\0",
        b"ABCD\0\0\0\0",
    ],
)
def test_a_webp_without_a_picture_is_refused(body):
    data = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    with pytest.raises(EmbedError, match="the WebP file is damaged"):
        with_texts(data, TEXTS)


def test_other_formats_hold_no_texts():
    assert read_texts(BytesIO(made("GIF"))) == Texts()
    assert read_texts(BytesIO(b"")) == Texts()
    with pytest.raises(EmbedError):
        with_texts(made("BMP"), TEXTS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_files_with_changed_bytes_are_read_or_refused(kind, data):
    image = bytearray(with_texts(made(kind), TEXTS))
    for _ in range(data.draw(st.integers(1, 5))):
        image[data.draw(st.integers(0, min(len(image), 300) - 1))] = data.draw(st.integers(0, 255))
    read_texts(BytesIO(image))
    with suppress(EmbedError):
        with_texts(bytes(image), TEXTS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_of_endless_parts_is_given_up(kind, monkeypatch):
    data = with_texts(made(kind), TEXTS)
    monkeypatch.setattr(image_text, "_MOST_PARTS", 1)
    assert read_texts(BytesIO(data)).parameters == ""
    with pytest.raises(EmbedError, match="is damaged"):
        with_texts(data, TEXTS)


def test_a_webp_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(image_text, "_LARGEST_FILE", 1000)
    with pytest.raises(EmbedError, match="would be too large"):
        with_texts(made("WEBP"), Texts(xmp=b"x" * 1000))
