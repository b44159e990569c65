"""An image that arrived is an image: over HTTP, through decoder and disk, for one payment."""

import base64
import functools
import io
import json
import random
import struct
import tempfile
import warnings
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from fakes import job
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_server import chunked, framed, raw_server, until_closed

from venice_batch.api.answers import Fault, Verdict
from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.clock import SystemClock
from venice_batch.model import Endpoint
from venice_batch.output.images import ImageFolder


@functools.cache
def image(name="png", size=(48, 33), xmp=b""):
    file = io.BytesIO()
    noise = random.Random(1).randbytes(3 * size[0] * size[1])
    Image.frombytes("RGB", size, noise).save(file, name, **({"xmp": xmp} if xmp else {}))
    return file.getvalue()


def loads(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as opened:
                opened.load()
        except Exception:  # noqa: BLE001  (Pillow's refusals are of many kinds)
            return False
    return True


class Folder:
    """An output folder and the server that fills it."""

    def __init__(self, root):
        self.root = root
        self.answer = b""
        self.requests = 0

    def serve(self, path, request, head):
        self.requests += 1
        return self.answer

    async def ask(self, answer, endpoint=Endpoint.GENERATE):
        self.answer = answer
        async with (
            raw_server(self.serve) as url,
            ApiClient(ApiSettings(url), ApiKey("sk-very-secret"), SystemClock()) as client,
        ):
            return await client.generate(endpoint, {"prompt": "p"}, ImageFolder(self.root, prefix="r").writer(job("a")))

    def files(self):
        return {f"{path.relative_to(self.root)}": path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@asynccontextmanager
async def folder():
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "images").mkdir()
        yield Folder(Path(name))


FRAMINGS = {"length": framed, "chunks": chunked, "close": until_closed}
TYPES = [
    "image/webp",
    "image/png",
    "binary/octet-stream",
    "text/plain; charset=utf-8",
    "application/json",
    "nonsense",
    "",
]


def labelled(frame, data, media_type):
    return frame(data, *([b"Content-Type: " + media_type.encode()] if media_type else []))


def padded(name, before):
    """An image with so much of metadata, in front of its pixels where the format has it there."""
    data = image(name)
    if name == "png":
        text = b"iTXt" + b"C2PA\0\0\0\0\0" + b"m" * before
        return data[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + data[33:]
    if name == "jpeg":
        sizes = [min(60_000, before - at) for at in range(0, before, 60_000)]
        return data[:2] + b"".join(struct.pack(">HH", 0xFFEB, size + 2) + b"m" * size for size in sizes) + data[2:]
    return image(name, xmp=b"m" * before)


@pytest.mark.no_cover
@settings(max_examples=60)
@given(
    name=st.sampled_from(["png", "jpeg", "webp", "gif", "avif"]),
    before=st.sampled_from([0, 1, 70_000, 200_000, 2_000_000]),
    after=st.binary(max_size=99) | st.just(2_000_000),
    media_type=st.sampled_from(TYPES),
    framing=st.sampled_from(sorted(FRAMINGS)),
    cut=st.floats(0, 1, exclude_max=True),
)
@example(name="png", before=200_000, after=b"", media_type="", framing="close", cut=0.99)
def test_what_a_decoder_opens_is_stored_once_and_what_it_refuses_is_no_image(
    name, before, after, media_type, framing, cut
):
    data = padded(name, before)
    after = bytes(after) if isinstance(after, int) else after
    part = data[: int(len(data) * cut)]
    assert loads(data)

    async def whole():
        async with folder() as at:
            reply = await at.ask(labelled(FRAMINGS[framing], data + after, media_type))
            assert at.files() == {reply.files[0].path: data + after}
            assert (reply.answer.verdict, reply.answer.possibly_billed) == (Verdict.SUCCEEDED, False)
            assert (reply.files[0].format, reply.files[0].width, reply.files[0].height) == (name, 48, 33)
            assert at.requests == 1

    async def cut_short():
        async with folder() as at:
            reply = await at.ask(labelled(FRAMINGS[framing], part, media_type))
            assert reply.answer.possibly_billed
            assert reply.files == ()
            assert not [name for name in at.files() if name.startswith("images/")]

    anyio.run(whole)
    if not loads(part):
        anyio.run(cut_short)


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_body_shorter_than_http_says_is_refused_even_where_the_image_is_whole(framing):
    async with folder() as at:
        answer = FRAMINGS[framing](image() + bytes(100), b"Content-Type: image/png")
        reply = await at.ask(answer[:-10])
        assert reply.answer.fault is Fault.CUT
        assert at.files() == {}


async def test_a_body_cut_at_its_thumbnails_end_is_no_image():
    jpeg, thumbnail = image("jpeg"), image("jpeg", (16, 16))
    exif = b"Exif\0\0" + thumbnail
    data = jpeg[:2] + struct.pack(">HH", 0xFFE1, len(exif) + 2) + exif + jpeg[2:]
    for frame in FRAMINGS.values():
        async with folder() as at:
            reply = await at.ask(labelled(frame, data[: 6 + len(exif)], "image/jpeg"))
            assert reply.answer.fault is Fault.NO_IMAGE
            assert at.files() == {}


UNKNOWN = {"noise": bytes(range(256)) * 9, "gzip": b"\x1f\x8b\x08\0" + bytes(50), "svg": b"<svg xmlns='x'></svg>"}


@pytest.mark.parametrize("media_type", ["image/png", "text/plain", "application/octet-stream", ""])
@pytest.mark.parametrize("case", UNKNOWN)
async def test_a_whole_answer_of_unknown_bytes_is_kept_apart_from_the_images(case, media_type):
    async with folder() as at:
        reply = await at.ask(labelled(framed, UNKNOWN[case], media_type))
        assert at.files() == {"unrecognised/a.bin": UNKNOWN[case]}
    assert (reply.answer.verdict, reply.answer.fault) == (Verdict.UNRECOGNISED, Fault.UNRECOGNISED)
    assert reply.answer.possibly_billed
    assert (reply.files, reply.unrecognised) == ((), ("unrecognised/a.bin",))


@pytest.mark.parametrize("data", [UNKNOWN["noise"], UNKNOWN["gzip"], b"\x89PNG"])
async def test_unknown_bytes_that_may_have_been_cut_are_asked_for_again(data):
    async with folder() as at:
        reply = await at.ask(until_closed(data, b"Content-Type: image/png"))
        assert at.files() == {}
    assert reply.answer.fault is Fault.NO_IMAGE


async def test_an_image_that_tells_no_end_and_came_without_a_length_is_kept_apart():
    data = b"\xff\x0a" + bytes(99)
    async with folder() as at:
        reply = await at.ask(until_closed(data, b"Content-Type: image/jxl"))
        assert at.files() == {"unrecognised/a.bin": data}
        assert reply.answer.verdict is Verdict.UNRECOGNISED
        reply = await at.ask(framed(data, b"Content-Type: image/jxl"))
    assert (reply.files[0].path, reply.files[0].width) == ("images/a.jxl", None)


@pytest.mark.parametrize("media_type", ["text/plain", "image/png", "application/octet-stream", "text/html", ""])
async def test_json_is_read_whatever_it_is_called(media_type):
    for start in (b"", b"\xef\xbb\xbf", b" \r\n"):
        body = start + json.dumps({"images": [base64.b64encode(image()).decode()]}).encode()
        async with folder() as at:
            for frame in FRAMINGS.values():
                reply = await at.ask(labelled(frame, body, media_type))
                assert reply.answer.verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize(
    ("body", "media_type", "message"),
    [
        (b"<html><title>Down</title></html>", "image/png", "text instead of an image: a web page: Down"),
        (b"<html><title>Down</title></html>", "text/html", "text/html instead of an image: a web page: Down"),
        (
            "Zugang gesperrt für Sie".encode("latin-1"),
            "text/plain",
            "text/plain instead of an image: Zugang gesp",
        ),
        (b'{"error": "no luck"}', "image/png", "the answer holds no image: no luck"),
        (b"no luck", "application/json", "the body is not valid JSON"),
        (b"", "image/png", "the body is empty"),
        (b"", "text/plain", "text/plain instead of an image: HTTP 200 without a reason"),
    ],
)
async def test_words_are_told_and_not_kept(body, media_type, message):
    async with folder() as at:
        reply = await at.ask(labelled(framed, body, media_type))
        assert at.files() == {}
    assert reply.answer.fault is Fault.NO_IMAGE
    assert reply.answer.message.startswith(message)


async def test_an_image_cut_inside_json_is_refused_and_one_that_is_unknown_keeps_all():
    def body(*images):
        return framed(json.dumps({"images": [base64.b64encode(one).decode() for one in images]}).encode())

    async with folder() as at:
        reply = await at.ask(body(image()[:-20]))
        assert (reply.answer.fault, at.files()) == (Fault.NO_IMAGE, {})
        reply = await at.ask(body(image(), UNKNOWN["noise"]))
        assert at.files() == {"unrecognised/a-1.png": image(), "unrecognised/a-2.bin": UNKNOWN["noise"]}
    assert reply.unrecognised == ("unrecognised/a-1.png", "unrecognised/a-2.bin")


@pytest.mark.parametrize("size", [8_190, 16_000, 100_000, 250_000])
async def test_a_long_header_costs_no_image(size):
    said = "%E6%B5%B7" * (size // 9)
    async with folder() as at:
        reply = await at.ask(framed(image(), b"x-venice-enhanced-prompt: " + said.encode(), b"x-other: " + b"y" * size))
    assert reply.answer.verdict is Verdict.SUCCEEDED
    assert reply.answer.headers.enhanced_prompt == "海" * (size // 9)


async def test_a_header_without_end_is_cut_off():
    async with folder() as at:
        reply = await at.ask(framed(image(), b"x-venice-enhanced-prompt: " + b"y" * 3_000_000))
    assert reply.answer.fault is Fault.CUT
