"""Request bodies: the API's fields, pictures from the disk, little memory."""

import base64
import email
import email.policy
import hashlib
import tracemalloc

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.requests import CHUNK_BYTES, as_sent, is_upload, outgoing
from venice_batch.errors import SourceError
from venice_batch.model import Endpoint

UPSCALE, EDIT, MULTI_EDIT, REMOVE = Endpoint.UPSCALE, Endpoint.EDIT, Endpoint.MULTI_EDIT, Endpoint.BACKGROUND_REMOVE
URL = "https://example.com/cat.png"


def local(path, data):
    path.write_bytes(data)
    return {"path": str(path), "sha256": hashlib.sha256(data).hexdigest()}


def text(data):
    return base64.b64encode(data).decode()


async def body(endpoint, request):
    """Return the body as the server reads it, having checked its announced length."""
    sending = await outgoing(endpoint, request)
    if isinstance(sending.data, bytes):
        assert "Content-Length" not in sending.headers
        return orjson.loads(sending.data)
    whole = b"".join([chunk async for chunk in sending.data])
    assert len(whole) == int(sending.headers["Content-Length"])
    return orjson.loads(whole)


async def test_a_request_without_pictures_is_its_json():
    request = {"model": "m", "prompt": "p"}
    assert await outgoing(Endpoint.GENERATE, request) == (
        b'{"model":"m","prompt":"p"}',
        {"Content-Type": "application/json"},
    )


async def test_a_local_picture_is_sent_as_base64(tmp_path):
    picture = local(tmp_path / "a.png", b"picture")
    assert await body(UPSCALE, {"image": picture}) == {"image": text(b"picture")}
    assert await body(UPSCALE, {"image": picture, "scale": 4}) == {"image": text(b"picture"), "scale": 4}
    assert await body(EDIT, {"model": "m", "image": picture, "prompt": 'a "hat"'}) == {
        "model": "m", "image": text(b"picture"), "prompt": 'a "hat"',
    }  # fmt: skip
    assert await body(REMOVE, {"image": picture}) == {"image": text(b"picture")}


async def test_several_pictures_keep_their_order_and_their_kinds(tmp_path):
    first, second = local(tmp_path / "a", b"first"), local(tmp_path / "b", b"second!")
    inline = "data:image/png;base64,aW5s aW5l"
    images = [first, URL, inline, second]
    assert await body(MULTI_EDIT, {"images": images, "prompt": "p", "model": "m"}) == {
        "images": [text(b"first"), URL, "aW5saW5l", text(b"second!")], "prompt": "p", "modelId": "m",
    }  # fmt: skip


async def test_the_model_field_has_the_endpoints_own_name():
    assert "modelId" in await body(MULTI_EDIT, {"images": [URL], "prompt": "p", "modelId": "m"})
    assert "model" in await body(EDIT, {"image": URL, "prompt": "p", "model": "m"})
    assert "modelId" in await body(EDIT, {"image": URL, "prompt": "p", "modelId": "m"})


async def test_a_url_is_sent_in_the_field_for_urls():
    assert await body(EDIT, {"image": URL, "prompt": "p"}) == {"image": URL, "prompt": "p"}
    assert await body(REMOVE, {"image": URL}) == {"image_url": URL}
    assert await body(REMOVE, {"image_url": URL}) == {"image_url": URL}
    assert await body(REMOVE, {"image": "data:image/png;base64,AAAA"}) == {"image": "AAAA"}


EDGES = [CHUNK_BYTES * times + more for times in (0, 1, 2) for more in (-2, -1, 0, 1, 2)]


@given(st.lists(st.sampled_from([size for size in EDGES if size > 0]) | st.integers(1, 5000), min_size=1, max_size=3))
def test_pictures_of_any_size_arrive_whole(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("pictures")
    contents = [bytes(range(256)) * (size // 256) + bytes(size % 256) for size in sizes]
    images = [local(folder / f"{number}.png", data) for number, data in enumerate(contents)]
    sent = anyio.run(body, MULTI_EDIT, {"images": images, "prompt": "p"})
    assert sent == {"images": [text(data) for data in contents], "prompt": "p"}


async def test_memory_holds_a_chunk_of_a_picture_at_a_time(tmp_path):
    picture = local(tmp_path / "a.png", bytes(8_000_000))
    tracemalloc.start()
    try:
        sending = await outgoing(UPSCALE, {"image": picture})
        async for _ in sending.data:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES


async def test_a_missing_or_changed_picture_is_reported_before_anything_is_sent(tmp_path):
    gone = local(tmp_path / "gone.png", b"a")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(SourceError, match=r"gone\.png cannot be read any more: No such file or directory"):
        await outgoing(UPSCALE, {"image": gone})
    other = local(tmp_path / "other.png", b"a")
    (tmp_path / "other.png").write_bytes(b"b")
    with pytest.raises(
        SourceError, match=r"other\.png has changed since it was checked; run again to send the new version"
    ):
        await outgoing(UPSCALE, {"image": other})


@pytest.mark.parametrize("change", ["rewritten", "cut", "gone"])
async def test_a_picture_that_changes_on_the_way_is_never_sent_whole(tmp_path, change):
    data = bytes(CHUNK_BYTES * 2 + 10)
    path = tmp_path / "a.png"
    sending = await outgoing(UPSCALE, {"image": local(path, data)})
    sent = [await anext(sending.data), await anext(sending.data)]
    if change == "rewritten":
        path.write_bytes(data[:-1] + b"x")
    elif change == "cut":
        path.write_bytes(data[:100])
    else:
        path.unlink()

    async def rest():
        sent.extend([chunk async for chunk in sending.data])

    with pytest.raises(SourceError):
        await rest()
    assert len(b"".join(sent)) < int(sending.headers["Content-Length"]) - 10


def parts_of(sending, whole):
    """Return the parts of a multipart form by name, as a server reads them."""
    message = b"Content-Type: " + sending.headers["Content-Type"].encode() + b"\r\n\r\n" + whole
    found = {}
    for part in email.message_from_bytes(message, policy=email.policy.HTTP).iter_parts():
        found.setdefault(part.get_param("name", header="Content-Disposition"), []).append(part.get_payload(decode=True))
    return found


async def form(endpoint, request):
    """Return the form as the server reads it, having checked its announced length."""
    sending = await outgoing(endpoint, request)
    assert sending.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    if isinstance(sending.data, bytes):
        return parts_of(sending, sending.data)
    whole = b"".join([chunk async for chunk in sending.data])
    assert len(whole) == int(sending.headers["Content-Length"])
    return parts_of(sending, whole)


@pytest.fixture
def small_bodies(monkeypatch):
    """Have the API accept JSON of a few bytes only."""
    monkeypatch.setattr("venice_batch.api.requests.MOST_JSON_BYTES", 256 * 1024 + 100)


async def test_pictures_too_large_for_json_are_sent_as_a_form(tmp_path, small_bodies):
    first, second = local(tmp_path / "a", bytes(range(256)) * 2000), local(tmp_path / "b", b"\r\n--second")
    request = {"model": "m", "prompt": "a café", "images": [first, second], "safe_mode": False}
    assert is_upload(MULTI_EDIT, request)
    assert await form(MULTI_EDIT, request) == {
        "modelId": [b"m"], "prompt": ["a café".encode()], "images": [bytes(range(256)) * 2000, b"\r\n--second"],
        "safe_mode": [b"false"],
    }  # fmt: skip


async def test_inline_pictures_are_sent_in_a_form_as_bytes(small_bodies):
    request = {"image": text(b"picture" * 100), "scale": 4}
    assert await form(UPSCALE, request) == {"image": [b"picture" * 100], "scale": [b"4"]}


def test_small_pictures_and_urls_are_sent_as_json(tmp_path, small_bodies):
    assert not is_upload(UPSCALE, {"image": local(tmp_path / "a", b"small")})
    assert not is_upload(MULTI_EDIT, {"images": [text(b"large" * 100), URL]})
    assert not is_upload(Endpoint.GENERATE, {"prompt": "p" * 1000})
    assert not is_upload(EDIT, {"prompt": "p"})
    assert not is_upload(UPSCALE, {"image": {"path": str(tmp_path / "gone"), "sha256": ""}})


async def test_a_picture_that_changes_while_its_form_is_sent_aborts_the_request(tmp_path, small_bodies):
    picture = local(tmp_path / "a", b"picture" * 1000)
    sending = await outgoing(UPSCALE, {"image": picture})
    (tmp_path / "a").write_bytes(b"another" * 1000)
    with pytest.raises(SourceError, match="has changed"):
        [chunk async for chunk in sending.data]


def sent(prefer_json=False, **fields):
    return as_sent(Endpoint.GENERATE, {"model": "m", "prompt": "p", **fields}, prefer_json=prefer_json)


def test_a_single_image_is_requested_as_binary():
    assert sent()["return_binary"] is True
    assert sent(variants=1) == {"model": "m", "prompt": "p", "return_binary": True}


def test_a_line_that_sets_return_binary_decides_itself():
    assert sent(return_binary=False)["return_binary"] is False
    assert sent(prefer_json=True, return_binary=True)["return_binary"] is True


def test_variants_and_preferred_json_are_sent_as_they_are():
    assert "return_binary" not in sent(variants=3)
    assert "return_binary" not in sent(prefer_json=True)


def test_the_openai_endpoint_is_sent_as_it_is():
    request = {"prompt": "p"}
    assert as_sent(Endpoint.GENERATIONS, request, prefer_json=False) is request
