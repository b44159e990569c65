import base64
import contextlib
import errno
import hashlib
import io
import json
import os
import re
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import aiohttp
import anyio
import pytest
import trustme
from aiohttp import web
from aioresponses import aioresponses
from PIL import Image

from venice_batch.api import requests as outgoing
from venice_batch.api.answers import KEYS_OWN, Fault, Verdict
from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.api.requests import error_bucket
from venice_batch.clock import SystemClock
from venice_batch.errors import ApiError, BodyError, KeyRefusedError, SourceError, UnrecognisedError, UsageError
from venice_batch.model import Endpoint

BASE = "http://api.test/api/v1"
URL = BASE + "/image/generate"
KEY = "sk-very-secret"


def png(size=(8, 6)):
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


class Memory:
    """An image writer that keeps the images."""

    def __init__(self):
        self.images = []
        self.committed = self.discarded = False

    async def write(self, piece):
        if piece.image == len(self.images):
            self.images.append(b"")
        self.images[piece.image] += piece.data

    async def commit(self, *, all_came=True, answer=None):
        self.all_came = all_came
        if not all(image.startswith(b"\x89PNG") for image in self.images):
            raise BodyError("no image")
        self.committed = True
        return tuple(self.images)

    async def discard(self):
        self.discarded = True


@pytest.fixture
async def client():
    async with ApiClient(ApiSettings(base_url=BASE), ApiKey(KEY), SystemClock()) as client:
        yield client


async def ask(client, endpoint=Endpoint.GENERATE, **body):
    writer = Memory()
    reply = await client.generate(endpoint, {"model": "m", "prompt": "p", **body}, writer)
    return reply, writer


async def test_a_binary_answer_is_the_image(client):
    with aioresponses() as mock:
        mock.post(URL, body=png(), content_type="image/png")
        reply, writer = await ask(client, return_binary=True)
        ((_, calls),) = mock.requests.items()
    assert reply.answer.verdict is Verdict.SUCCEEDED
    assert writer.images == [png()]
    sent = calls[0].kwargs
    assert json.loads(sent["data"]) == {"model": "m", "prompt": "p", "return_binary": True}
    assert sent["headers"]["Authorization"] == f"Bearer {KEY}"
    assert sent["headers"]["Content-Type"] == "application/json"


async def test_a_json_answer_brings_its_images_and_the_servers_timing(client):
    timing = {"inferenceDuration": 1840, "inferencePreprocessingTime": 22, "inferenceQueueTime": 31, "total": 1893}
    images = [base64.b64encode(png((size, 6))).decode() for size in (3, 4, 5)]
    with aioresponses() as mock:
        mock.post(URL, payload={"id": "x", "images": images, "timing": timing})
        reply, writer = await ask(client, variants=3)
    assert writer.images == [png((size, 6)) for size in (3, 4, 5)]
    assert reply.server.inference_duration == 1840
    assert reply.server.total == 1893


@pytest.mark.parametrize("form", ["b64_json", "url"])
async def test_both_forms_of_the_openai_endpoint_are_read(client, form):
    text = base64.b64encode(png()).decode()
    item = {"b64_json": text} if form == "b64_json" else {"url": f"data:image/png;base64,{text}"}
    with aioresponses() as mock:
        mock.post(BASE + "/images/generations", payload={"created": 1, "data": [item]})
        reply, writer = await ask(client, Endpoint.GENERATIONS)
    assert reply.answer.status == 200
    assert writer.images == [png()]


async def test_odd_timing_loses_no_image(client):
    with aioresponses() as mock:
        mock.post(URL, payload={"images": [base64.b64encode(png()).decode()], "timing": {"total": "soon"}})
        reply, _ = await ask(client)
    assert reply.answer.verdict is Verdict.SUCCEEDED
    assert reply.server is None


async def test_the_headers_of_an_answer_are_read(client):
    headers = {
        "x-venice-is-blurred": "true",
        "x-venice-enhanced-prompt": "a%20gondola",
        "x-venice-deprecated": "true",
        "x-venice-deprecated-replacement": "new-model",
        "x-venice-balance-usd": "4.5",
        "CF-RAY": "abc-FRA",
    }
    with aioresponses() as mock:
        mock.post(URL, body=png(), content_type="image/png", headers=headers)
        reply, _ = await ask(client)
    head = reply.answer.headers
    assert head.blurred
    assert head.enhanced_prompt == "a gondola"
    assert "new-model" in head.deprecated
    assert head.balance_usd == 4.5
    assert head.ray == "abc-FRA"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.REJECTED),
        (401, Verdict.KEY_REFUSED),
        (402, Verdict.NO_MONEY),
        (403, Verdict.KEY_REFUSED),
        (404, Verdict.LANE_REFUSED),
        (415, Verdict.REJECTED),
        (422, Verdict.REJECTED),
        (429, Verdict.LIMITED),
        (500, Verdict.TRANSIENT),
        (503, Verdict.OVERLOADED),
        (504, Verdict.TRANSIENT),
        (524, Verdict.TRANSIENT),
    ],
)
async def test_each_status_has_its_verdict_and_its_reason(client, status, verdict):
    with aioresponses() as mock:
        mock.post(URL, status=status, payload={"error": "the reason"}, headers={"Retry-After": "7"})
        reply, writer = await ask(client)
    assert reply.answer.verdict is verdict
    assert reply.answer.message == "the reason"
    assert reply.answer.headers.retry_after_s == 7
    assert writer.discarded
    assert not writer.committed


async def test_a_gateways_web_page_is_shown_by_its_title(client):
    with aioresponses() as mock:
        mock.post(URL, status=502, body="<html><title>502 Bad Gateway</title>", content_type="text/html")
        reply, _ = await ask(client)
    assert reply.answer.message == "a web page: 502 Bad Gateway"


async def test_a_key_that_the_server_repeats_goes_no_further(client):
    with aioresponses() as mock:
        mock.post(URL, status=401, payload={"error": f"bad key {KEY}"})
        reply, _ = await ask(client)
    assert KEY not in reply.answer.message
    assert "***" in reply.answer.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"", "image/png"),
        (b'{"images": []}', "application/json"),
        (b'{"images": ["@@@@"]}', "application/json"),
        (b'{"images": ["AAAA"', "application/json"),
        (b"<html>hello</html>", "text/html"),
        (b"not a png", "image/png"),
    ],
)
async def test_a_200_without_a_whole_image_is_a_failure_to_try_again(client, body, kind):
    with aioresponses() as mock:
        mock.post(URL, body=body, content_type=kind)
        reply, writer = await ask(client)
    assert reply.answer.fault is Fault.NO_IMAGE
    assert reply.answer.verdict is Verdict.TRANSIENT
    assert reply.answer.possibly_billed
    assert writer.discarded


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (aiohttp.ServerDisconnectedError(), Fault.CUT),
        (aiohttp.ClientPayloadError("cut"), Fault.CUT),
        (ConnectionResetError(), Fault.CUT),
        (aiohttp.SocketTimeoutError(), Fault.TIMEOUT),
        (TimeoutError(), Fault.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Fault.CONNECT),
        (aiohttp.InvalidURL("x"), Fault.CONNECT),
    ],
)
async def test_a_broken_connection_counts_as_sent_or_unsent(client, error, fault):
    with aioresponses() as mock:
        mock.post(URL, exception=error)
        reply, writer = await ask(client)
    assert reply.answer.fault is fault
    assert reply.answer.status is None
    assert reply.answer.possibly_billed is (fault is not Fault.CONNECT)
    assert writer.discarded


async def test_styles_are_read_in_both_documented_shapes(client):
    with aioresponses() as mock:
        mock.get(BASE + "/image/styles", payload=["Anime"])
        mock.get(BASE + "/image/styles", payload={"object": "list", "data": ["Anime", "Neon"]})
        assert await client.styles() == ("Anime",)
        assert await client.styles() == ("Anime", "Neon")


async def test_a_listing_refused_to_the_key_raises_another_error_than_one_that_fails(client):
    with aioresponses() as mock:
        mock.get(BASE + "/api_keys/rate_limits", status=401, payload={"error": "no"})
        mock.get(BASE + "/models?type=image", status=500, payload={"error": "oops"})
        mock.get(BASE + "/image/styles", exception=ConnectionResetError("gone"))
        with pytest.raises(KeyRefusedError):
            await client.limits()
        with pytest.raises(ApiError, match="oops"):
            await client.models()
        with pytest.raises(ApiError, match="gone"):
            await client.styles()


def test_a_base_url_that_is_not_an_address_is_refused():
    with pytest.raises(UsageError, match="http://"):
        ApiSettings(base_url="ftp://a")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_not_a_positive_number_is_refused(timeout_s):
    with pytest.raises(UsageError, match="positive"):
        ApiSettings(timeout_s=timeout_s)


async def test_a_proxy_of_another_kind_is_refused(monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(UsageError, match="proxy"):
        async with connect("http://venice.invalid/api/v1"):
            pass


@pytest.mark.parametrize("status", [201, 202, 204])
async def test_no_other_success_than_200_brings_an_image(client, status):
    with aioresponses() as mock:
        mock.post(URL, status=status)
        reply, _ = await ask(client)
    assert reply.answer.verdict is Verdict.TRANSIENT
    assert reply.answer.fault is Fault.NO_IMAGE


async def test_a_404_without_the_apis_shape_means_a_wrong_address(client):
    with aioresponses() as mock:
        mock.post(URL, status=404, body="<html><title>nginx</title>", content_type="text/html")
        mock.post(URL, status=404, payload={"error": "Specified model not found"})
        wrong, _ = await ask(client)
        missing, _ = await ask(client)
    assert wrong.answer.verdict is Verdict.WRONG_ADDRESS
    assert (wrong.answer.message, wrong.answer.from_api) == ("a web page: nginx", False)
    assert missing.answer.verdict is Verdict.LANE_REFUSED


CLOUDFLARE = "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (403, "text/html; charset=UTF-8", CLOUDFLARE),
        (404, "text/plain", "default backend - 404"),
        (401, "text/html", "<html><title>401 Authorization Required</title></html>"),
        (401, "text/plain", ""),
        (403, "application/json", '{"message": "Forbidden"}'),
        (403, "application/json", '["Forbidden"]'),
        (403, "application/json", '{"error": null}'),
        (403, "application/json", '{"error": "cut'),
        (405, "text/html", "<html><title>This model is not found, Pro users only</title>"),
        (410, "text/html", "<html><title>Gone</title>"),
        (451, "text/plain", "not here"),
    ],
)
async def test_a_refusal_without_the_apis_shape_is_not_the_apis(client, status, kind, body):
    with aioresponses() as mock:
        mock.post(URL, status=status, body=body, content_type=kind, headers={"CF-RAY": "abc-FRA"})
        reply, _ = await ask(client)
    assert (reply.answer.fault, reply.answer.from_api) == (Fault.NOT_THE_API, False)
    assert reply.answer.headers.ray == "abc-FRA"
    assert not reply.answer.possibly_billed


@pytest.mark.parametrize(("status", "fault"), [(502, None), (429, None), (400, None)])
async def test_other_pages_keep_the_meaning_of_their_status(client, status, fault):
    with aioresponses() as mock:
        mock.post(URL, status=status, body=CLOUDFLARE, content_type="text/html")
        reply, _ = await ask(client)
    assert (reply.answer.fault, reply.answer.from_api) == (fault, False)


@pytest.mark.parametrize(
    ("status", "body", "own"),
    [
        (200, '{"data": []}', True),
        (200, CLOUDFLARE, False),
        (404, '{"error": "not found"}', True),
        (404, CLOUDFLARE, False),
        (401, '{"error": {"message": "no"}}', True),
        (403, CLOUDFLARE, False),
    ],
)
async def test_a_listing_shows_whether_the_api_itself_answered(client, status, body, own):
    with aioresponses() as mock:
        mock.get(BASE + "/api_keys/rate_limits", status=status, body=body)
        with pytest.raises(ApiError):
            await client.limits()
    assert (client.listed.status, client.listed.from_api) == (status, own)


async def test_a_listing_at_a_wrong_address_asks_for_the_right_one(client):
    with aioresponses() as mock:
        mock.get(BASE + "/image/styles", status=404, body="nothing here")
        with pytest.raises(ApiError, match="nothing here; is --base-url right"):
            await client.styles()


async def test_a_key_in_a_header_or_across_a_cut_goes_no_further(client):
    with aioresponses() as mock:
        mock.post(
            URL,
            body=png(),
            content_type="image/png",
            headers={"CF-RAY": KEY, "x-venice-deprecated-replacement": KEY},
        )
        mock.post(URL, status=400, payload={"error": "x" * 495 + KEY})
        echoed, _ = await ask(client)
        cut, _ = await ask(client)
    assert KEY[:5] not in f"{echoed.answer.headers}{cut.answer.message}"


class Server:
    """A real server on loopback; one handler gives all answers."""

    def __init__(self, handler, ssl_context=None):
        self.handler = handler
        self.ssl_context = ssl_context

    async def __aenter__(self):
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self.handler)
        self.runner = web.AppRunner(app, lingering_time=0.0)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.ssl_context)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}/api/v1"
        return self

    async def __aexit__(self, *exc_info):
        await self.runner.cleanup()


def connect(url, **settings):
    return ApiClient(ApiSettings(base_url=url, **settings), ApiKey(KEY), SystemClock())


async def test_a_redirect_to_another_host_is_not_followed_so_the_key_stays_here():
    seen = []

    async def elsewhere(request):
        seen.append(request.headers.get("Authorization"))
        return web.Response()

    async with Server(elsewhere) as other:

        async def redirect(request):
            raise web.HTTPTemporaryRedirect(other.url)

        async with Server(redirect) as server, connect(server.url) as client:
            reply, _ = await ask(client)
            with pytest.raises(ApiError, match="not followed"):
                await client.styles()
    assert seen == []
    assert reply.answer.verdict is Verdict.WRONG_ADDRESS
    assert "not followed" in reply.answer.message


async def test_a_proxy_that_wants_credentials_rejects_no_job():
    async def refuse(request):
        return web.Response(status=407, text="Proxy Authentication Required")

    async with Server(refuse) as server, connect(server.url) as client:
        reply, _ = await ask(client)
    assert reply.answer.verdict is Verdict.WRONG_ADDRESS
    assert reply.answer.message == "Proxy Authentication Required; the proxy needs a name and password"


async def test_a_server_that_stalls_is_a_timeout_and_possibly_billed():
    gone = anyio.Event()

    async def stall(request):
        await gone.wait()
        return web.Response()

    async with Server(stall) as server, connect(server.url, timeout_s=0.05) as client:
        reply, _ = await ask(client)
        gone.set()
    assert reply.answer.fault is Fault.TIMEOUT
    assert "0.05 s" in reply.answer.message


async def test_a_body_shorter_than_announced_is_cut():
    async def short(request):
        answer = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "image/png"})
        await answer.prepare(request)
        await answer.write(png())
        request.transport.close()
        return answer

    async with Server(short) as server, connect(server.url) as client:
        reply, writer = await ask(client)
    assert reply.answer.fault is Fault.CUT
    assert reply.answer.status == 200
    assert writer.discarded
    assert not writer.committed


async def test_an_image_over_the_cap_is_cut_off_while_it_arrives():
    async def endless(request):
        answer = web.StreamResponse(headers={"Content-Type": "image/png"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"\0" * 65536)
        except ConnectionError:
            return answer

    async with Server(endless) as server, connect(server.url, max_image_bytes=1_000_000) as client:
        reply, _ = await ask(client)
    assert reply.answer.fault is Fault.NO_IMAGE
    assert "--max-image-bytes" in reply.answer.message


async def test_nobody_listening_is_a_failure_to_connect():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with connect(url) as client:
            reply, _ = await ask(client)
    assert reply.answer.fault is Fault.CONNECT
    assert not reply.answer.possibly_billed


async def test_a_certificate_of_an_unknown_authority_is_a_failure_to_connect(monkeypatch, tmp_path):
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def image(request):
        return web.Response(body=png(), content_type="image/png")

    async with Server(image, context) as server:
        async with connect(server.url) as client:
            reply, _ = await ask(client)
        assert reply.answer.fault is Fault.CONNECT
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with connect(server.url) as client:
            reply, writer = await ask(client)
    assert reply.answer.status == 200
    assert writer.images == [png()]


async def test_a_proxy_from_the_environment_is_used_and_no_proxy_honoured(monkeypatch):
    asked = []

    async def proxy(request):
        asked.append(request.host)
        return web.Response(body=png(), content_type="image/png")

    async with Server(proxy) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        async with connect("http://venice.invalid/api/v1") as client:
            reply, _ = await ask(client)
        assert reply.answer.status == 200
        assert asked == ["venice.invalid"]
        monkeypatch.setenv("no_proxy", "venice.invalid")
        async with connect("http://venice.invalid/api/v1") as client:
            reply, _ = await ask(client)
    assert reply.answer.fault is Fault.CONNECT


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "no address"])
async def test_a_server_on_this_machine_is_asked_without_a_proxy(monkeypatch, variable, proxy):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(variable, proxy)

    async def serve(_):
        return web.Response(body=png(), content_type="image/png")

    async with Server(serve) as server, connect(server.url) as client:
        reply, _ = await ask(client)
    assert reply.answer.status == 200


async def test_a_local_picture_is_uploaded_with_its_length_and_the_answer_is_the_image(tmp_path):
    data = bytes(3_000_000)
    (tmp_path / "a.png").write_bytes(data)
    picture = {"path": str(tmp_path / "a.png"), "sha256": hashlib.sha256(data).hexdigest()}
    seen = []

    async def upscale(request):
        seen.append((request.path, request.headers.get("Transfer-Encoding"), await request.json()))
        return web.Response(body=png(), content_type="image/png")

    async with Server(upscale) as server, connect(server.url) as client:
        reply, writer = await ask(client, Endpoint.UPSCALE, image=picture, scale=4)
    ((path, encoding, body),) = seen
    assert (path, encoding) == ("/api/v1/image/upscale", None)
    assert body == {"image": base64.b64encode(data).decode(), "scale": 4, "model": "m", "prompt": "p"}
    assert reply.answer.verdict is Verdict.SUCCEEDED
    assert writer.images == [png()]


async def test_a_picture_that_changes_on_the_way_is_never_received_whole(tmp_path, monkeypatch):
    data = bytes(3_000_000)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    picture = {"path": str(path), "sha256": hashlib.sha256(data).hexdigest()}
    whole = []

    async def upscale(request):
        whole.append(await request.read())
        return web.Response(body=png(), content_type="image/png")

    piece = outgoing._piece

    def change_then_read(*given):
        path.write_bytes(data[:-1] + b"x")
        return piece(*given)

    monkeypatch.setattr(outgoing, "_piece", change_then_read)
    async with Server(upscale) as server, connect(server.url) as client:
        with pytest.raises(SourceError, match="has changed since it was checked"):
            await ask(client, Endpoint.UPSCALE, image=picture)
    assert whole == []


async def test_a_refusal_ends_an_upload_that_nobody_reads(tmp_path):
    data = bytes(8_000_000)
    (tmp_path / "a.png").write_bytes(data)
    picture = {"path": str(tmp_path / "a.png"), "sha256": hashlib.sha256(data).hexdigest()}

    async def refuse(request):
        return web.json_response({"error": "Rate limit exceeded"}, status=429, headers={"Retry-After": "7"})

    async with Server(refuse) as server, connect(server.url) as client:
        reply, _ = await ask(client, Endpoint.UPSCALE, image=picture)
    assert (reply.answer.status, reply.answer.hint_s) == (429, 7)


def in_parts(status, *parts, kind="application/json", then=None):
    """Return a handler that sends a body in separate parts, then waits for `then` if given."""

    async def answer(request):
        response = web.StreamResponse(status=status, headers={"Content-Type": kind})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()  # in which the client, on the same event loop, reads it
        if then is not None:
            await then.wait()
        return response

    return answer


@pytest.mark.parametrize(
    ("status", "parts", "verdict", "message"),
    [
        (401, (b'{"error":', b'"Only available to Pro users"}'), Verdict.LANE_REFUSED, "Only available to Pro users"),
        (404, (b'{"error":"Model ', b'not found"}'), Verdict.LANE_REFUSED, "Model not found"),
        (429, (b'{"error":"Too many fai', b'led attempts"}'), Verdict.BLOCKED, "Too many failed attempts"),
        (400, (b'{"error":"Invalid', b' width"}'), Verdict.REJECTED, "Invalid width"),
        (500, (b'{"error":"bad key sk-very', b'-secret"}'), Verdict.TRANSIENT, "bad key ***"),
        (500, (b'{"error":"bad key sk\\u002dvery', b'-secret"}'), Verdict.TRANSIENT, "bad key ***"),
    ],
)
async def test_a_refusal_that_comes_in_parts_is_read_whole(status, parts, verdict, message):
    async with Server(in_parts(status, *parts)) as server, connect(server.url) as client:
        reply, _ = await ask(client)
    assert (reply.answer.verdict, reply.answer.message) == (verdict, message)


async def test_an_endless_refusal_is_cut_before_any_part_of_the_key(monkeypatch):
    monkeypatch.setattr("venice_batch.api.client._REFUSAL_S", 0.2)
    gone = anyio.Event()
    start = b"it is down for today: " + b"." * 200 + b"sk-very-secre"
    async with Server(in_parts(503, start, kind="text/plain", then=gone)) as server, connect(server.url) as client:
        reply, _ = await ask(client)
        gone.set()
    assert reply.answer.verdict is Verdict.OVERLOADED
    assert reply.answer.message.startswith("it is down for today")
    assert "sk-" not in reply.answer.message


@pytest.mark.parametrize("status", [201, 206])
async def test_another_success_that_holds_an_image_shows_none_of_its_bytes(client, status):
    with aioresponses() as mock:
        mock.post(URL, status=status, body=png(), content_type="image/png")
        reply, _ = await ask(client)
    assert (reply.answer.fault, reply.answer.message) == (Fault.NO_IMAGE, f"HTTP {status} without a reason")


@pytest.mark.parametrize("status", [0, 101])
async def test_an_impossible_status_is_tried_again_and_possibly_billed(client, status):
    with aioresponses() as mock:
        mock.post(URL, status=status, body=b"")
        reply, _ = await ask(client)
    assert reply.answer.verdict is Verdict.TRANSIENT
    assert reply.answer.possibly_billed


@pytest.mark.parametrize("error", ["content policy", {"message": "content policy"}, "content\npolicy"])
async def test_an_error_instead_of_an_image_is_reported(client, error):
    with aioresponses() as mock:
        mock.post(URL, payload={"error": error})
        reply, _ = await ask(client)
    assert reply.answer.fault is Fault.NO_IMAGE
    assert reply.answer.message.replace("\ufffd", " ") == "the answer holds no image: content policy"


async def test_the_http_librarys_quotes_from_a_broken_answer_are_not_shown(client):
    with aioresponses() as mock:
        mock.post(URL, exception=aiohttp.ServerDisconnectedError("<RawResponseMessage(version=1)>"))
        reply, _ = await ask(client)
    assert reply.answer.fault is Fault.CUT
    assert reply.answer.message == "the connection broke: the server closed it before its answer was complete"


async def test_a_content_violation_leaves_no_image_and_says_why(client):
    with aioresponses() as mock:
        mock.post(URL, body=png(), content_type="image/png", headers={"x-venice-is-content-violation": "true"})
        reply, writer = await ask(client)
    assert reply.answer.verdict is Verdict.REJECTED
    assert "content rules" in reply.answer.message
    assert (reply.files, writer.images, writer.committed) == ((), [], False)


async def test_a_listings_headers_are_kept_even_where_it_is_refused(client):
    assert client.listed is None
    head = {"x-ratelimit-remaining": "50", "x-ratelimit-resets": "1700000012250"}
    with aioresponses() as mock:
        mock.get(BASE + "/api_keys/rate_limits", status=403, payload={"error": "no"}, headers=head)
        with pytest.raises(KeyRefusedError):
            await client.limits()
    assert (client.listed.status, client.listed.headers.errors_left) == (403, 50)


def test_requests_without_a_visible_model_field_share_one_error_bucket(monkeypatch):
    edit = {"model": "qwen-edit", "image": "aGVsbG8=", "prompt": "p"}
    assert error_bucket(Endpoint.GENERATE, {"model": "chroma", "prompt": "p"}) == ""
    assert error_bucket(Endpoint.EDIT, edit) == ""
    without = [
        (Endpoint.UPSCALE, {"image": "aGVsbG8="}),
        (Endpoint.BACKGROUND_REMOVE, {"image": "aGVsbG8="}),
        (Endpoint.EDIT, {"image": "aGVsbG8=", "prompt": "p"}),
        (Endpoint.MULTI_EDIT, {"model": "qwen-edit", "images": ["aGVsbG8="], "prompt": "p"}),  # sent as modelId
    ]
    assert {error_bucket(*request) for request in without} == {KEYS_OWN}
    monkeypatch.setattr("venice_batch.api.requests.MOST_JSON_BYTES", 0)
    assert error_bucket(Endpoint.EDIT, edit) == KEYS_OWN  # a multipart form


class Elsewhere:
    """A server in its own thread, which continues while this process's event loop stands still.

    It gives each connection one answer, `delay_s` after the request.
    """

    def __init__(self, answer, delay_s=0.0):
        self.answer = answer
        self.delay_s = delay_s
        self.served = 0
        self._done = threading.Event()

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._done.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    self._done.wait(self.delay_s)
                    self.served += 1
                    connection.sendall(self.answer)


def whole(body, kind=b"image/png", status=b"200 OK"):
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body


async def stand_still(seconds):
    """Block this event loop, as SIGSTOP does, once a request is in flight."""
    await anyio.sleep(0.05)
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point


async def test_an_answer_that_came_while_the_process_was_stopped_is_read():
    large = png((900, 900)) + b"\0" * 3_000_000
    with Elsewhere(whole(large), delay_s=0.3) as server:
        async with connect(server.url, timeout_s=0.6) as client, anyio.create_task_group() as group:
            group.start_soon(stand_still, 1.8)
            reply, writer = await ask(client)
    assert (reply.answer.verdict, server.served) == (Verdict.SUCCEEDED, 1)
    assert writer.images == [large]


async def test_an_answer_still_missing_after_a_stop_is_a_timeout():
    with Elsewhere(whole(png()), delay_s=60) as server:
        async with connect(server.url, timeout_s=0.3) as client, anyio.create_task_group() as group:
            group.start_soon(stand_still, 1.0)
            reply, _ = await ask(client)
    assert reply.answer.fault is Fault.TIMEOUT


async def test_a_listing_that_came_while_the_process_was_stopped_is_read(monkeypatch):
    monkeypatch.setattr("venice_batch.api.client._LISTING_TIMEOUT_S", 0.6)
    with Elsewhere(whole(b'{"data": ["Anime"]}', b"application/json"), delay_s=0.3) as server:
        async with connect(server.url) as client, anyio.create_task_group() as group:
            group.start_soon(stand_still, 1.8)
            assert await client.styles() == ("Anime",)


@pytest.mark.parametrize(("stopped", "asked"), [(True, 2), (False, 1)])
async def test_a_connect_timeout_of_a_listing_is_not_believed_after_a_stop(client, monkeypatch, stopped, asked):
    moments = iter([0.0, 0.1 if stopped else 10.0, 0.0, 10.0])
    monkeypatch.setattr(client._clock, "running", lambda: next(moments))
    monkeypatch.setattr("venice_batch.api.client.Deadline", lambda *given: contextlib.AsyncExitStack())
    with aioresponses() as mock:
        mock.get(BASE + "/image/styles", exception=aiohttp.ConnectionTimeoutError())
        mock.get(BASE + "/image/styles", exception=aiohttp.ConnectionTimeoutError())
        with pytest.raises(ApiError, match="no answer in time"):
            await client.styles()
        assert sum(map(len, mock.requests.values())) == asked


async def test_after_a_hangup_on_a_used_connection_every_request_gets_a_new_one():
    requests = []

    async def once(stream):
        async with stream:
            for number in range(2):
                try:
                    await stream.receive()
                except anyio.EndOfStream:
                    return
                requests.append(number)
                if number:
                    return
                await stream.send(whole(png()).replace(b"Connection: close", b"Connection: keep-alive"))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, once)
        async with connect(f"http://127.0.0.1:{port}") as client:
            replies = [(await ask(client))[0] for _ in range(5)]
        group.cancel_scope.cancel()
    assert [reply.answer.fault for reply in replies] == [None, Fault.CUT, None, None, None]
    assert requests == [0, 1, 0, 0, 0]


async def test_a_disk_slower_than_the_timeout_loses_no_image_that_has_arrived():
    class Slow(Memory):
        async def write(self, piece):
            await anyio.sleep(0.4)
            await super().write(piece)

    async def answer(request):
        return web.Response(body=png(), content_type="image/png")

    writer = Slow()
    async with Server(answer) as server, connect(server.url, timeout_s=0.2) as client:
        reply = await client.generate(Endpoint.GENERATE, {"model": "m", "prompt": "p"}, writer)
    assert reply.answer.verdict is Verdict.SUCCEEDED
    assert writer.images == [png()]


@pytest.mark.parametrize("proxy", ["http://bob:s3 cret@host:1", "socks5://bob:s3 cret@host:1", "//bob:s3 c@ret@[host"])
async def test_a_proxys_password_is_not_shown(monkeypatch, proxy):
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(UsageError, match=r"the proxy for https: .[a-z5:]*//\*\*\*@") as caught:
        async with ApiClient(ApiSettings(), ApiKey("k"), SystemClock()):
            pass
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_listing_is_not_redacted_if_the_key_is_no_secret():
    async with ApiClient(ApiSettings(base_url=BASE), ApiKey("none"), SystemClock()) as client:
        with aioresponses() as mock:
            mock.get(BASE + "/image/styles", payload=["none", "Anime"])
            assert await client.styles() == ("none", "Anime")


async def test_a_whole_answer_in_an_unknown_format_names_the_files_that_keep_it(client):
    class Keeper(Memory):
        async def commit(self, *, all_came=True, answer=None):
            raise UnrecognisedError(["unrecognised/a.bin"])

    with aioresponses() as mock:
        mock.post(URL, body=png(), content_type="image/png")
        reply = await client.generate(Endpoint.GENERATE, {"model": "m", "prompt": "p"}, Keeper())
    assert (reply.answer.fault, reply.unrecognised) == (Fault.UNRECOGNISED, ("unrecognised/a.bin",))


async def test_a_refusal_longer_than_is_read_keeps_its_beginning(client):
    with aioresponses() as mock:
        mock.post(URL, status=500, body=b"down " * 40_000, content_type="text/plain")
        reply, _ = await ask(client)
    assert reply.answer.message.startswith("down down")


async def test_a_listing_that_comes_in_parts_is_read_whole():
    async with Server(in_parts(200, b'{"data": ["Ani', b'me"]}')) as server, connect(server.url) as client:
        assert await client.styles() == ("Anime",)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)"), "connection refused"),
        (
            OSError("Multiple exceptions: [Errno 101] Connect call failed, [Errno 111] Connect call failed"),
            os.strerror(101).lower(),
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (OSError("who knows"), "who knows"),
    ],
)
async def test_a_failed_connection_is_reported_in_a_few_words(client, cause, reason):
    to = SimpleNamespace(host="host", port=9, ssl=True)
    with aioresponses() as mock:
        mock.post(URL, exception=aiohttp.ClientConnectorError(to, cause))
        reply, _ = await ask(client)
    assert (reply.answer.fault, reply.answer.message) == (Fault.CONNECT, f"host:9: {reason}")


def usage_page(*skus, cursor=None):
    row = {"timestamp": "2026-06-15T19:05:10Z", "units": 1, "pricePerUnitUsd": 1, "amount": -1, "currency": "USD"}
    return {"data": [{**row, "sku": sku} for sku in skus], "nextCursor": cursor}


async def test_a_usage_history_is_read_page_by_page_and_a_cursor_goes_alone(client):
    first = "?startTimestamp=2027-01-15T08:00:00Z&endTimestamp=2027-01-15T08:01:01Z&pageSize=1000"
    with aioresponses() as mock:
        mock.get(BASE + "/billing/usage-history" + first, payload=usage_page("a", "b", cursor="x-_1"))
        mock.get(BASE + "/billing/usage-history?cursor=x-_1", payload=usage_page("c"))
        pages = [page async for page in client.usage_history(1_800_000_000.5, 1_800_000_060)]
    assert [[row.sku for row in page.rows] for page in pages] == [["a", "b"], ["c"]]


async def test_a_usage_history_that_goes_round_in_circles_is_an_error(client):
    with aioresponses() as mock:
        mock.get(re.compile(".*usage-history.*"), payload=usage_page("a", cursor="x"), repeat=True)
        with pytest.raises(ApiError, match="repeats a page"):
            [page async for page in client.usage_history(0, 60)]
