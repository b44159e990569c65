"""Images told by their bytes."""

import functools
import io
import random
import struct
import warnings
import zlib

import imagesize
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from venice_batch import image_format as formats
from venice_batch.errors import BodyError
from venice_batch.image_format import EXTENSIONS, START_BYTES, ImageKind, format_of, is_text, kind_of, recognise

SIZE = (48, 33)


def image(name, size=SIZE, **options):
    file = io.BytesIO()
    noise = random.Random(1).randbytes(3 * size[0] * size[1])
    Image.frombytes("RGB", size, noise).save(file, name, **options)
    return file.getvalue()


def tell(data, *, all_came=True):
    """The kind, None for what is kept elsewhere, or "refused"."""
    try:
        return recognise(io.BytesIO(data), len(data), all_came=all_came)
    except BodyError:
        return "refused"


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def behind_start(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def behind_ihdr(png, *chunks):
    return png[:33] + b"".join(chunks) + png[33:]


def riff(*chunks):
    padded = [kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks]
    body = b"WEBP" + b"".join(padded)
    return b"RIFF" + struct.pack("<I", len(body)) + body


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", SIZE, "teal")]}
THUMBNAIL = image("jpeg", (16, 16))
MADE = {
    "png": image("png"), "png in many chunks": image("png", (200, 100)),
    "png with a thumbnail": behind_ihdr(image("png"), chunk(b"caBX", image("png", (9, 9)) + THUMBNAIL)),
    "jpeg": image("jpeg"), "progressive jpeg": image("jpeg", progressive=True),
    "jpeg with a thumbnail": behind_start(image("jpeg"), segment(0xE1, b"Exif\0\0" + THUMBNAIL)),
    "padded jpeg": behind_start(image("jpeg"), b"\xff\xff\xff", segment(0xFE, b"x")),
    "gif": image("gif"), "gif of two": image("gif", **FRAMES),
    "webp": image("webp"), "lossless webp": image("webp", lossless=True), "webp of two": image("webp", **FRAMES),
    "webp with metadata": image("webp", exif=b"Exif\0\0xyz"),
    "bmp": image("bmp"), "avif": image("avif"), "avif of two": image("avif", **FRAMES), "tiff": image("tiff"),
}  # fmt: skip
LOADED = {"png": SIZE, "png in many chunks": (200, 100)}


@functools.cache
def loads(data):
    """Whether Pillow makes all of an image of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as opened:
                for frame in range(getattr(opened, "n_frames", 1)):
                    opened.seek(frame)
                    opened.load()
        except Exception:  # noqa: BLE001  (Pillow's refusals are of many kinds)
            return False
    return True


@pytest.mark.parametrize("case", MADE)
@pytest.mark.parametrize("all_came", [True, False])
@pytest.mark.parametrize("after", [b"", b"\0", b"\0" * 64, b"\xff\xd9;IEND" * 9, bytes(range(256)) * 999])
def test_every_whole_image_is_told_with_its_size_whatever_comes_after_it(case, all_came, after):
    data = MADE[case] + after
    assert loads(MADE[case])
    expected = ImageKind(next(name for name in EXTENSIONS if name in case), *LOADED.get(case, SIZE))
    if case == "tiff" and not all_came:
        expected = None  # nothing in it tells where it ends
    assert tell(data, all_came=all_came) == expected


@pytest.mark.parametrize("all_came", [True, False])
@pytest.mark.parametrize("case", sorted(MADE.keys() - {"tiff"}))
def test_no_part_of_an_image_that_a_decoder_refuses_is_one(case, all_came):
    data = MADE[case]
    cuts = {*range(0, len(data), 1 + len(data) // 2000), *range(600), *range(len(data) - 40, len(data))}
    passed = [cut for cut in sorted(cuts) if isinstance(tell(data[:cut], all_came=all_came), ImageKind)]
    assert [cut for cut in passed if not loads(data[:cut])] == []


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
@settings(max_examples=25, deadline=None)
@given(before=st.integers(0, 2_000_000), after=st.integers(0, 2_000_000), cut=st.floats(0, 1, exclude_max=True))
@example(before=2_000_000, after=0, cut=0.5)
@example(before=200_000, after=2_000_000, cut=0.99)
def test_an_image_far_behind_its_metadata_is_one_and_a_part_of_it_is_none(name, before, after, cut):
    data = with_metadata(name, before)
    assert tell(data + bytes(after), all_came=False) == tell(data) == ImageKind(name, *SIZE)
    part = data[: int(len(data) * cut)]
    assert loads(part) or not isinstance(tell(part), ImageKind)


def with_metadata(name, size):
    if name == "png":
        return behind_ihdr(MADE["png"], *[chunk(b"iTXt", b"C2PA\0\0\0\0\0" + b"m" * size)] * bool(size))
    if name == "jpeg":
        parts = [size - at if size - at < 60_000 else 60_000 for at in range(0, size, 60_000)]
        return behind_start(MADE["jpeg"], *(segment(0xEB, b"\xff\xd9".ljust(part, b"m")) for part in parts))
    extended = b"\x20\0\0\0" + (SIZE[0] - 1).to_bytes(3, "little") + (SIZE[1] - 1).to_bytes(3, "little")
    return riff((b"VP8X", extended), (b"ICCP", b"m" * size), (b"VP8 ", MADE["webp"][20:]))


def test_a_thumbnails_end_is_not_the_images():
    data = MADE["jpeg with a thumbnail"]
    cut = data.index(b"\xff\xd9") + 2
    assert loads(THUMBNAIL)
    assert tell(data[:cut]) == tell(data[:cut], all_came=False) == "refused"
    data = MADE["png with a thumbnail"]
    cut = data.index(b"IEND\xaeB`\x82") + 8
    assert tell(data[:cut]) == tell(data[:cut], all_came=False) == "refused"


def test_the_extension_is_the_usual_one():
    assert [ImageKind(name, 1, 1).extension for name in ("png", "jpeg", "webp", "gif")] == ["png", "jpg", "webp", "gif"]


def test_a_webp_may_not_count_the_padding_of_its_last_byte():
    data = riff((b"VP8 ", MADE["webp"][20:]), (b"XMP ", b"odd"))
    short = data[:4] + (len(data) - 9).to_bytes(4, "little") + data[8:]
    assert tell(short[:-1]) == tell(short) == tell(data) == ImageKind("webp", *SIZE)
    assert tell(short[:-2]) == tell(data[:-1]) == "refused"


def test_a_gif_without_its_last_byte_is_whole_if_http_says_so():
    data = MADE["gif"]
    assert data.endswith(b"\0;")
    assert tell(data[:-1]) == ImageKind("gif", *SIZE)
    assert tell(data[:-1], all_came=False) is None
    assert tell(data[:-2]) == tell(data[:20]) == "refused"


@pytest.mark.parametrize("data", [b"<!doctype html>", b'{"images":[]}', b"Bad gateway", "größer".encode(), b"RIFF"])
def test_text_is_refused_whether_all_came_or_not(data):
    assert tell(data) == tell(data, all_came=False) == "refused"


@pytest.mark.parametrize(
    "data", [b"RIFF\x04\0\0\0WAVE", b"\x89PNG", b"BM\0\0\0\0\0\0", b"\0" * 99, b"<svg xmlns=''></svg>", b"\x1f\x8b"]
)
def test_what_is_neither_image_nor_text_is_unknown_if_all_came_and_else_refused(data):
    assert tell(data) is None
    assert tell(data, all_came=False) == "refused"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", b"RIFF\x04\0\0\0WEBP", b"GIF88a;"[:3] + b"89a", b"GIF89a;",
        b"\xff\xd8\xff\xda\0\x02\0\0", b"\0\0\0\x0cftypavif", b"BM\xff\xff\xff\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    ],
)  # fmt: skip
def test_what_only_begins_as_an_image_is_refused(data):
    assert tell(data) == "refused"


@pytest.mark.parametrize("error", [ValueError("Invalid PNG file"), struct.error("4 bytes"), TypeError(), KeyError()])
def test_an_image_whose_size_cannot_be_read_is_one_all_the_same(monkeypatch, error):
    def give_up(file):
        raise error

    monkeypatch.setattr(imagesize, "get", give_up)
    assert tell(MADE["png"]) == ImageKind("png", None, None)
    assert kind_of(io.BytesIO(MADE["png"])) is None


def test_a_disk_that_cannot_be_read_is_no_fault_of_the_image(monkeypatch):
    def fail(file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(imagesize, "get", fail)
    with pytest.raises(OSError, match="Input/output"):
        tell(MADE["png"])


@pytest.mark.parametrize(("size", "shown"), [((0, 0), (None, None)), ((5, 0), (None, None))])
def test_a_size_of_nothing_is_none(monkeypatch, size, shown):
    monkeypatch.setattr(imagesize, "get", lambda file: size)
    assert tell(MADE["png"]) == ImageKind("png", *shown)


JXL_BOXES = b"\0\0\0\x0cJXL \r\n\x87\n"
STARTS = [
    b"\0\0\0\x10ftypavif\0\0\0\0", JXL_BOXES, b"\xff\x0a", b"II*\0", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe0\0\x01", b"RIFF\0\0\0\0WEBP", b"GIF89a",
]  # fmt: skip
ENDS = [b"", b"IEND\xaeB`\x82", b"\xff\xd9", b";"]


@given(st.sampled_from(STARTS), st.binary(max_size=60), st.sampled_from(ENDS))
@example(b"GIF89a", b"", b";")
@example(b"\xff\xd8\xff", b"", b"\xff\xd9")
@example(b"\x89PNG\r\n\x1a\n", b"", b"IEND\xaeB`\x82")
def test_garbage_after_an_images_first_bytes_never_raises(start, middle, end):
    data = start + middle + end
    if start.startswith(b"RIFF"):
        data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    for all_came in (True, False):
        found = tell(data, all_came=all_came)
        assert found in (None, "refused") or found.width is None or (found.width > 0 and found.height > 0)


@given(st.sampled_from(sorted(MADE)), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damage_anywhere_never_raises(case, place, damage):
    data = bytearray(MADE[case])
    data[place : place + len(damage)] = damage
    found = tell(bytes(data))
    assert found in (None, "refused") or found.format in EXTENSIONS


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


FTYP = box(b"ftyp", b"avif" + bytes(4))
JXL_FTYP = JXL_BOXES + box(b"ftyp", b"jxl " + bytes(4) + b"jxl ")
LAST = struct.pack(">I", 0x80000001)


@pytest.mark.parametrize(
    ("data", "whole", "cut"),
    [
        (FTYP + box(b"mdat", b"pixels") + box(b"meta", bytes(4)), True, True),
        (FTYP + box(b"meta", bytes(4)) + struct.pack(">I4sQ", 1, b"mdat", 16 + 6) + b"pixels", True, True),
        (FTYP + box(b"mini", b"pixels"), True, True),
        (FTYP + box(b"meta", b"idatpixels"), True, None),
        (FTYP + box(b"meta", b"idatpixels") + b"\0", "refused", "refused"),
        (FTYP + box(b"meta", bytes(4)), "refused", "refused"),
        (FTYP + box(b"meta", bytes(4)) + bytes(4) + b"mdatpixels", True, None),
        (FTYP + bytes(4) + b"\x01\x02\x03\x04 no boxes", True, None),
        (FTYP + struct.pack(">I4s", 4, b"mdat"), True, None),
        (JXL_FTYP + box(b"jxlc", b"\xff\x0apixels"), True, True),
        (JXL_FTYP + box(b"jxlp", bytes(4) + b"\xff\x0a") + box(b"jxlp", LAST + b"pixels"), True, True),
        (JXL_FTYP + box(b"jxlp", bytes(4) + b"\xff\x0apixels"), "refused", "refused"),
        (JXL_FTYP + box(b"jxlc", b"\xff\x0apixels")[:-1], "refused", "refused"),
        (JXL_FTYP + bytes(4) + b"jxlc\xff\x0apixels", True, None),
        (b"\xff\x0a whatever", True, None),
        (b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40), True, None),
        (b"MM\0*" + bytes(20), True, None),
        (b"\xff\xd8\xff\xe0\0\x02garbage", True, None),
    ],
)
def test_where_the_end_cannot_be_told_http_tells(data, whole, cut):
    for all_came, expected in ((True, whole), (False, cut)):
        found = tell(data, all_came=all_came)
        assert isinstance(found, ImageKind) if expected is True else found == expected


@pytest.mark.parametrize(
    "data",
    [
        MADE["png"][:33] + chunk(b"tEXt", b"") * 50,
        b"\xff\xd8" + b"\xff\x01" * 50,
        riff(*[(b"junk", b"")] * 50),
        MADE["gif"][: 13 + 768] + b"!\xfe\0" * 50,
        MADE["gif"][: 13 + 768] + b"!\xfe" + b"\x01x" * 50,
        FTYP + box(b"free", b"") * 50,
    ],
)
def test_an_image_of_more_parts_than_any_has_takes_no_longer(monkeypatch, data):
    monkeypatch.setattr(formats, "_MOST_STEPS", 20)
    assert tell(data, all_came=False) in (None, "refused")


def test_a_mark_between_two_blocks_is_found():
    jpeg = MADE["jpeg"]
    start = jpeg.index(b"\xff\xda")
    start += 2 + int.from_bytes(jpeg[start + 2 : start + 4])
    data = jpeg[:start] + b"\x55" * (formats._BLOCK_BYTES - 1) + b"\xff\xd9" + bytes(99)
    assert isinstance(tell(data), ImageKind)


@given(st.text(min_size=1), st.integers(0, 3))
def test_text_is_text_wherever_its_beginning_is_cut(text, cut):
    data = text.encode()
    control = any(ord(char) < 32 and char not in "\t\n\f\r\x1b" for char in text)
    assert is_text(data[: len(data) - min(cut, len(data) - 1)]) or control


def test_text_in_another_encoding_is_text_where_the_server_says_that_it_is():
    assert not is_text("verfügbar".encode("latin-1"))
    assert is_text("verfügbar".encode("latin-1"), encoded=False)
    assert not is_text(b"\0", encoded=False)


def test_the_start_is_enough_to_tell_a_format():
    for data in MADE.values():
        assert format_of(data[:START_BYTES]) == format_of(data) is not None
