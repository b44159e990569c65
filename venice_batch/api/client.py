"""The only place that speaks HTTP."""

from __future__ import annotations

import math
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio
import msgspec
from yarl import URL

from venice_batch import headers as answer_headers
from venice_batch._version import __version__
from venice_batch.api import listings, refusals
from venice_batch.api.outgoing import names_model, outgoing
from venice_batch.api.secret import without_userinfo
from venice_batch.decode import MAX_IMAGE_BYTES, BinaryDecoder, BodyDecoder, JsonDecoder
from venice_batch.errors import ApiError, BodyError, KeyRefusedError, SourceError, UsageError, one_line
from venice_batch.model import Endpoint, ImageFile, ServerTiming
from venice_batch.pacing.error_budget import KEYS_OWN
from venice_batch.retry import Answer, Fault

if TYPE_CHECKING:
    from venice_batch.api.secret import ApiKey
    from venice_batch.catalogue.models import Kind
    from venice_batch.clock import Clock
    from venice_batch.output.sink import ImageWriter

VENICE = "https://api.venice.ai/api/v1"
VIOLATION = "the image broke the API's content rules: nothing was charged, and there is no image"
_LISTING_TIMEOUT_S = 20.0
_MAX_REFUSAL_BYTES = 64 * 1024
_REFUSAL_S = 5.0
"""Most of a refusal's text comes with its head; what does not come soon would hold a slot for nothing."""
_MAX_LISTING_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 512 * 1024
"""Read at a time, where there is as much: every chunk takes a turn of the event loop."""
_READ_AHEAD_BYTES = 224 * 1024
"""aiohttp stops reading when twice this waits: after one whole chunk, so that no connection holds two."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the API is and how long to wait for it.

    `timeout_s` bounds one attempt from its start to its last byte (the API's slowest documented step, prompt
    enhancement, alone takes 30 s); `connect_timeout_s` bounds connecting and TLS.
    """

    base_url: str = VENICE
    timeout_s: float = 300.0
    connect_timeout_s: float = 10.0
    max_image_bytes: int = MAX_IMAGE_BYTES
    concurrency: int = 256

    def __post_init__(self) -> None:
        url = _parse_address(self.base_url, "--base-url")
        if url.user is not None or url.password is not None:
            shown = without_userinfo(self.base_url)
            raise UsageError(
                f"--base-url: {shown!r} holds a name or a password; the API takes a key only: leave them out"
            )
        if not (0 < self.timeout_s < math.inf and 0 < self.connect_timeout_s < math.inf):
            raise UsageError("timeouts have to be positive numbers of seconds")


class Reply(msgspec.Struct, frozen=True):
    """One attempt's answer, its images' files and where its time went (None: it did not get that far)."""

    answer: Answer
    files: tuple[ImageFile, ...] = ()
    server: ServerTiming | None = None
    ttfb_s: float | None = None
    download_s: float | None = None
    write_s: float | None = None


class ApiClient:
    """A session with the API; an async context manager.

    `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are honoured. Redirects are never followed, so the key goes to
    no other host. The key is taken out of whatever the server says before it goes any further.
    """

    def __init__(self, settings: ApiSettings, key: ApiKey, clock: Clock) -> None:
        self.settings = settings
        self._key = key
        self._clock = clock
        self._base = settings.base_url.rstrip("/")
        self._urls = {endpoint: URL(self._base + endpoint) for endpoint in Endpoint}
        self._stack = AsyncExitStack()
        self.listed: Answer | None = None
        """The last answer to a request for a listing, its status and headers; None before any."""

    async def __aenter__(self) -> Self:
        # Once a block of this size has been freed, glibc keeps the smaller ones that every read takes, instead of
        # fetching them from the system anew (mallopt(3), M_MMAP_THRESHOLD), which saves most page faults.
        bytearray(8 * _CHUNK_BYTES)
        # OpenSSL reads SSL_CERT_FILE when a context is made: one made here sees today's environment. Loading the
        # certificates takes as long as a small import, so nothing loads them that does not need them.
        tls = ssl.create_default_context() if self._base.lower().startswith("https:") else True
        connector = aiohttp.TCPConnector(limit=self.settings.concurrency + 2, ssl=tls)
        proxy, proxy_auth = _proxy_for(self._base)
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                # Not trust_env: that would look for a .netrc file, in a thread, at every request.
                proxy=proxy,
                proxy_auth=proxy_auth,
                # The API sets none that mean anything to it, and looking for them takes time.
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_AHEAD_BYTES,
                headers={"User-Agent": f"venice-batch/{__version__}"},
                timeout=aiohttp.ClientTimeout(
                    total=self.settings.timeout_s, sock_connect=self.settings.connect_timeout_s
                ),
            )
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def generate(self, endpoint: Endpoint, body: dict[str, Any], writer: ImageWriter) -> Reply:
        """Make one attempt; whatever comes back is a Reply, and `writer` is committed or discarded.

        Raises:
            FolderError: the images could not be stored.
            SourceError: a picture to send is not what was checked; no server had all of the request.
        """
        sending = await outgoing(endpoint, body)
        sent_s = self._clock.now()
        status: int | None = None
        fault: Fault | None
        head = answer_headers.AnswerHeaders()
        ttfb_s = None
        try:
            async with self._session.post(
                self._urls[endpoint],
                data=sending.data,
                headers={"Authorization": self._key.header(), "Accept-Encoding": "identity", **sending.headers},
                allow_redirects=False,
            ) as response:
                first_s = self._clock.now()
                ttfb_s = first_s - sent_s
                status = response.status
                head = answer_headers.read(response.headers, wall_s=self._clock.wall(), redact=self._key.redact)
                if status != 200:
                    text, fault = await self._refusal(response)
                    return Reply(Answer(status, head, text, sent_s, self._clock.now(), fault), ttfb_s=ttfb_s)
                if head.content_violation:
                    # The body is a placeholder, or blacked out: no image of the prompt.
                    return Reply(Answer(status, head, VIOLATION, sent_s, self._clock.now()), ttfb_s=ttfb_s)
                document = await self._stream(response, writer)
            last_s = self._clock.now()
            files = await writer.commit()
            return Reply(
                Answer(status, head, "", sent_s, last_s),
                files,
                _server_timing(document),
                ttfb_s,
                last_s - first_s,
                self._clock.now() - last_s,
            )
        except BodyError as error:
            fault, text = Fault.NO_IMAGE, str(error)
        except TimeoutError as error:
            unsent = isinstance(error, aiohttp.ConnectionTimeoutError)
            fault = Fault.CONNECT if unsent else Fault.TIMEOUT
            limit_s = self.settings.connect_timeout_s if unsent else self.settings.timeout_s
            text = f"no {'connection' if unsent else 'answer'} within {limit_s:g} s"
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.ClientHttpProxyError) as error:
            fault, text = Fault.CONNECT, _told(error)
        except (aiohttp.ClientError, ConnectionError) as error:
            if isinstance(error.__cause__, SourceError):
                raise error.__cause__ from None
            fault, text = Fault.CUT, f"the connection broke: {_told(error)}"
        finally:
            await writer.discard()
        return Reply(Answer(status, head, self._key.redact(text), sent_s, self._clock.now(), fault), ttfb_s=ttfb_s)

    def error_bucket(self, endpoint: Endpoint, body: dict[str, Any]) -> str:
        """Return where the API counts the errors of such a request; "" for its model's own bucket."""
        return "" if names_model(endpoint, body) else KEYS_OWN

    async def styles(self) -> tuple[str, ...]:
        """The style presets' names. Raises ApiError, KeyRefusedError."""
        return listings.parse_styles(await self._get("/image/styles"))

    async def models(self, kind: Kind = "image") -> tuple[dict[str, Any], ...]:
        """The models of one kind as listed. Raises ApiError, KeyRefusedError."""
        return listings.parse_models(await self._get(f"/models?type={kind}"))

    async def limits(self) -> listings.Limits:
        """The key's quotas and balances. Raises ApiError, KeyRefusedError (also for a key without that right)."""
        return listings.parse_limits(await self._get("/api_keys/rate_limits"))

    async def _stream(self, response: aiohttp.ClientResponse, writer: ImageWriter) -> dict[str, Any]:
        decoder: BodyDecoder
        kind = response.content_type
        if kind.startswith("image/") or kind == "application/octet-stream":
            decoder = BinaryDecoder(self.settings.max_image_bytes)
        elif kind.endswith("json"):
            decoder = JsonDecoder(self.settings.max_image_bytes)
        else:
            start = await self._start(response)
            raise BodyError(f"{kind} instead of an image: {refusals.message(200, kind, start)[:100]}")
        _read_much(response)
        # Chunks as they came: whatever has gathered meanwhile is not worth a copy to join it.
        async for chunk, _ in response.content.iter_chunks():
            pieces = decoder.feed(chunk)
            del chunk  # while the disk is waited for, the pieces are enough to hold
            for piece in pieces:
                await writer.write(piece)
        pieces, document = decoder.close()
        for piece in pieces:
            await writer.write(piece)
        return document

    async def _refusal(self, response: aiohttp.ClientResponse) -> tuple[str, Fault | None]:
        """Why `response` is no success, without the key; the fault says what no status does."""
        body = await self._start(response)
        text = self._key.redact(refusals.message(response.status, response.content_type, body))
        if 300 <= response.status < 400:
            target = self._key.redact(response.headers.get("Location", "nowhere"))
            return one_line(f"redirected to {target[:200]}, not followed; is --base-url right?"), Fault.NOT_THE_API
        if response.status == 407:
            return f"{text}; the proxy wants a name and a password", Fault.NOT_THE_API
        if response.status in (404, 405) and not refusals.is_from_api(body):
            return f"{text}; is --base-url right?", Fault.NOT_THE_API
        # No other success brings an image, nor does what is no answer's status; one may have been made all the same.
        return text, Fault.NO_IMAGE if response.status < 300 else None

    async def _start(self, response: aiohttp.ClientResponse) -> bytes:
        """The start of a body that is no image, without the key: what comes before it breaks or takes too long."""
        body = bytearray()
        whole = False
        # The status is news enough: whatever becomes of the body is no fault of its own.
        with suppress(aiohttp.ClientError, TimeoutError, ConnectionError), anyio.move_on_after(_REFUSAL_S):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_REFUSAL_BYTES:
                    break
            else:
                whole = True
        # Redacted before anything is cut, here or for a message: half a key is one too many.
        return self._key.redact_bytes(bytes(body[:_MAX_REFUSAL_BYTES]), whole=whole)

    async def _get(self, path: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_LISTING_TIMEOUT_S, sock_connect=self.settings.connect_timeout_s)
        sent_s = self._clock.now()
        try:
            async with self._session.get(
                self._base + path,
                headers={"Authorization": self._key.header()},
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                head = answer_headers.read(response.headers, wall_s=self._clock.wall(), redact=self._key.redact)
                self.listed = Answer(response.status, head, "", sent_s, self._clock.now())
                if response.status in (401, 403):
                    raise KeyRefusedError((await self._refusal(response))[0], response.status)
                if response.status != 200:
                    raise ApiError(f"{path}: {(await self._refusal(response))[0]}", response.status)
                body = await response.content.read(_MAX_LISTING_BYTES)
                while not response.content.at_eof() and len(body) < _MAX_LISTING_BYTES:
                    body += await response.content.read(_MAX_LISTING_BYTES - len(body))
                return body
        except TimeoutError as error:
            raise ApiError(f"{self._base}: no answer in time") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ApiError(self._key.redact(f"{self._base}: {_told(error)}")) from error


def _told(error: Exception) -> str:
    """What an error of the network says, in one line."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed it before its answer was whole"  # aiohttp's own words may be what it has parsed
    return refusals.in_short(str(error)) or type(error).__name__


def _read_much(response: aiohttp.ClientResponse) -> None:
    """Have what is left of the body read in chunks of `_CHUNK_BYTES`, where the event loop is asyncio's own."""
    transport = response.connection.transport if response.connection is not None else None
    if transport is not None and hasattr(transport, "max_size"):  # not documented, so not counted on; 256 KB otherwise
        transport.max_size = _CHUNK_BYTES


def _parse_address(text: str, what: str) -> URL:
    """The address in `text`. Raises UsageError where it is none, with `what` it was for."""
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host or url.port is None or " " in text:
            raise ValueError(text)
        url.host.encode("idna")
    except ValueError:  # UnicodeError is one
        raise UsageError(f"{what}: {without_userinfo(text)!r} is no http:// or https:// address") from None
    return url


def _proxy_for(base_url: str) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """The proxy that the environment names for `base_url` (HTTPS_PROXY and so on, NO_PROXY), and its credentials."""
    url = URL(base_url)
    proxy = getproxies().get(url.scheme)
    if proxy is None or url.host is None or proxy_bypass(url.host):
        return None, None
    address = _parse_address(proxy if "://" in proxy else f"http://{proxy}", f"the proxy for {url.scheme}")
    if address.user is None:
        return address, None
    return address.with_user(None), aiohttp.BasicAuth(address.user, address.password or "")


def _server_timing(document: dict[str, Any]) -> ServerTiming | None:
    try:
        return msgspec.convert(document.get("timing"), ServerTiming | None)
    except msgspec.ValidationError:
        return None  # only a record's decoration: no reason to lose an image
