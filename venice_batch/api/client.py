"""The only place that speaks HTTP."""

from __future__ import annotations

import ipaddress
import math
import re
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.request import getproxies, getproxies_environment, proxy_bypass

import aiohttp
import msgspec
from yarl import URL

from venice_batch._version import __version__
from venice_batch.api import errors_in as refusals
from venice_batch.api import listings
from venice_batch.api import responses as answer_headers
from venice_batch.api.answers import KEYS_OWN, Answer, Fault
from venice_batch.api.decode import MAX_IMAGE_BYTES, JsonDecoder, decoder_for
from venice_batch.api.key import without_userinfo
from venice_batch.api.requests import names_model, outgoing
from venice_batch.catalogue.listing import is_local
from venice_batch.clock import Deadline
from venice_batch.errors import (
    ApiError,
    BodyError,
    KeyRefusedError,
    SourceError,
    UnrecognisedError,
    UsageError,
    one_line,
)
from venice_batch.image_format import START_BYTES
from venice_batch.model import Endpoint, ImageFile, ServerTiming

if TYPE_CHECKING:
    from venice_batch.api.decode import Piece
    from venice_batch.api.key import ApiKey
    from venice_batch.catalogue.models import ModelKind
    from venice_batch.clock import Clock
    from venice_batch.model import ImageFile

VENICE = "https://api.venice.ai/api/v1"
VIOLATION = "the image broke the API's content rules: nothing was charged, and there is no image"
_LISTING_TIMEOUT_S = 20.0
_MAX_REFUSAL_BYTES = 64 * 1024
_NEEDS_OWN_WORDS = frozenset({401, 403, 404, 405, 410, 451})
"""What a firewall, a proxy or a router says too: the API's word on key, address or model only in the API's shape."""
_REFUSAL_S = 5.0
"""Most of a refusal's text comes with its head; what does not come soon would hold a slot for nothing."""
_AHEAD_OF_TIME_S = 0.5
_MAX_HEADER_BYTES = 256 * 1024
"""An enhanced prompt comes in a header, nine bytes a letter of many scripts: this holds 29,000, thrice the longest
prompt that any model takes. An answer with more is lost, so that no server can fill the memory with what is unread."""
_MAX_LISTING_BYTES = 16 * 1024 * 1024
_QUOTED = re.compile(r"\s*\bb\\?['\"].*", re.DOTALL)
"""What aiohttp quotes of an answer that it cannot read: cut anywhere, so that half a key in it would not be found."""
_CHUNK_BYTES = 512 * 1024
"""Read at a time, where there is as much: every chunk takes a turn of the event loop."""
_READ_AHEAD_BYTES = 224 * 1024
"""aiohttp stops reading when twice this waits: after one whole chunk, so that no connection holds two."""


class ImageWriter(Protocol):
    """Takes one job's images; ends with `commit` or `discard`, both of which may follow each other."""

    async def write(self, piece: Piece) -> None:
        """Take the next bytes of an image."""
        ...

    async def commit(self, *, all_came: bool = True) -> tuple[ImageFile, ...]:
        """Put the images under their names and tell what they are, in the order received.

        `all_came`: the server has told that what was written is all; if not, each image's own end has to be there.

        Raises:
            BodyError: one of them is no image, or not a whole one; nothing was put anywhere.
            UnrecognisedError: one of them is no image known here; all are kept, none among the images.
            FolderError: the folder does not take them.
        """
        ...

    async def discard(self) -> None:
        """Leave no trace of what was written and not committed."""
        ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the API is and how long to wait for it.

    `timeout_s` bounds one attempt from its start to its last byte (the API's slowest documented step, prompt
    enhancement, alone takes 30 s); `connect_timeout_s` bounds connecting and TLS. Time in which this process is stopped
    does not count for `timeout_s`.
    """

    base_url: str = VENICE
    timeout_s: float = 300.0
    connect_timeout_s: float = 10.0
    max_image_bytes: int = MAX_IMAGE_BYTES
    concurrency: int = 256

    def __post_init__(self) -> None:
        _parse_base_url(self.base_url)
        if not (0 < self.timeout_s < math.inf and 0 < self.connect_timeout_s < math.inf):
            raise UsageError("timeouts have to be positive numbers of seconds")


class Reply(msgspec.Struct, frozen=True):
    """One attempt's answer, its images' files and where its time went (None: it did not get that far).

    `unrecognised` are the paths of what came whole and is no image known here.
    """

    answer: Answer
    files: tuple[ImageFile, ...] = ()
    server: ServerTiming | None = None
    ttfb_s: float | None = None
    download_s: float | None = None
    write_s: float | None = None
    unrecognised: tuple[str, ...] = ()


class ApiClient:
    """A session with the API; an async context manager.

    `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are honoured; a server on this machine is asked without a proxy.
    Redirects are never followed, so the key goes to no other host. The key is taken out of whatever the server says
    before it goes any further.
    """

    def __init__(self, settings: ApiSettings, key: ApiKey, clock: Clock) -> None:
        self.settings = settings
        self._key = key
        self._clock = clock
        self._base = settings.base_url.rstrip("/")
        self._urls = {endpoint: URL(self._base + endpoint) for endpoint in Endpoint}
        self._stack = AsyncExitStack()
        self._reuses = True
        self.listed: Answer | None = None
        """The last answer to a request for a listing, its status and headers; None before any."""

    async def __aenter__(self) -> Self:
        # Once a block of this size has been freed, glibc keeps the smaller ones that every read takes, instead of
        # fetching them from the system anew (mallopt(3), M_MMAP_THRESHOLD), which saves most page faults.
        bytearray(8 * _CHUNK_BYTES)
        self._session = await self._open(reuse=True)
        self._stack.enter_context(self._clock.beating())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def _open(self, *, reuse: bool) -> aiohttp.ClientSession:
        """A session whose connections serve one request after the other, or one each; closed with this client."""
        # OpenSSL reads SSL_CERT_FILE when a context is made: one made here sees today's environment. Loading the
        # certificates takes as long as a small import, so nothing loads them that does not need them.
        tls = ssl.create_default_context() if self._base.lower().startswith("https:") else True
        connector = aiohttp.TCPConnector(limit=self.settings.concurrency + 2, ssl=tls, force_close=not reuse)
        proxy, proxy_auth = _proxy_for(self._base)
        return await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                # Not trust_env: that would look for a .netrc file, in a thread, at every request.
                proxy=proxy,
                proxy_auth=proxy_auth,
                # The API sets none that mean anything to it, and looking for them takes time.
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_AHEAD_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                headers={"User-Agent": f"venice-batch/{__version__}"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.settings.connect_timeout_s),
            )
        )

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
        kept: tuple[str, ...] = ()
        try:
            async with (
                Deadline(self._clock, self.settings.timeout_s) as deadline,
                self._session.post(
                    self._urls[endpoint],
                    data=sending.data,
                    headers={"Authorization": self._key.header(), "Accept-Encoding": "identity", **sending.headers},
                    allow_redirects=False,
                ) as response,
            ):
                deadline.has_arrived = response.content.is_eof
                first_s = self._clock.now()
                ttfb_s = first_s - sent_s
                status = response.status
                head = answer_headers.read(response.headers, wall_s=self._clock.wall(), redact=self._key.redact)
                if status != 200:
                    text, fault, own = await self._refusal(response)
                    answer = Answer(status, head, text, sent_s, self._clock.now(), fault, from_api=own)
                    return Reply(answer, ttfb_s=ttfb_s)
                if head.content_violation:
                    # The body is a placeholder, or blacked out: no image of the prompt.
                    return Reply(Answer(status, head, VIOLATION, sent_s, self._clock.now()), ttfb_s=ttfb_s)
                document, all_came = await self._stream(response, writer)
            last_s = self._clock.now()
            files = await writer.commit(all_came=all_came)
            return Reply(
                Answer(status, head, "", sent_s, last_s),
                files,
                _server_timing(document),
                ttfb_s,
                last_s - first_s,
                self._clock.now() - last_s,
            )
        except UnrecognisedError as error:
            fault, text, kept = Fault.UNRECOGNISED, str(error), error.paths
        except BodyError as error:
            fault, text = Fault.NO_IMAGE, str(error)
        except TimeoutError as error:
            unsent = isinstance(error, aiohttp.ConnectionTimeoutError)
            fault = Fault.CONNECT if unsent else Fault.TIMEOUT
            limit_s = self.settings.connect_timeout_s if unsent else self.settings.timeout_s
            text = f"no {'connection' if unsent else 'answer'} within {limit_s:g} s"
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.ClientHttpProxyError) as error:
            fault, text = Fault.CONNECT, self._told(error)
        except (aiohttp.ClientError, ConnectionError) as error:
            if isinstance(error.__cause__, SourceError):
                raise error.__cause__ from None
            fault, text = Fault.CUT, f"the connection broke: {self._told(error)}"
            if status is None and self._reuses:
                # Some servers hang up on a connection's next request although they said keep-alive. Whether it was
                # served nobody knows, so that is not to happen to the same job again.
                self._reuses = False
                self._session = await self._open(reuse=False)
        finally:
            await writer.discard()
        text = refusals.in_short(self._key.redact(text))
        answer = Answer(status, head, text, sent_s, self._clock.now(), fault)
        return Reply(answer, ttfb_s=ttfb_s, unrecognised=kept)

    def error_bucket(self, endpoint: Endpoint, body: dict[str, Any]) -> str:
        """Return where the API counts the errors of such a request; "" for its model's own bucket."""
        return "" if names_model(endpoint, body) else KEYS_OWN

    async def styles(self) -> tuple[str, ...]:
        """The style presets' names. Raises ApiError, KeyRefusedError."""
        return listings.parse_styles(await self._get("/image/styles"))

    async def models(self, kind: ModelKind = "image") -> tuple[dict[str, Any], ...]:
        """The models of one kind as listed. Raises ApiError, KeyRefusedError."""
        return listings.parse_models(await self._get(f"/models?type={kind}"))

    async def limits(self) -> listings.Limits:
        """The key's quotas and balances. Raises ApiError, KeyRefusedError (also for a key without that right)."""
        return listings.parse_limits(await self._get("/api_keys/rate_limits"))

    async def _stream(self, response: aiohttp.ClientResponse, writer: ImageWriter) -> tuple[dict[str, Any], bool]:
        """The body's images to `writer`; returns what else it says, and whether all of it is known to have come."""
        kind = response.content_type
        _read_much(response)
        start = b""
        while len(start) < START_BYTES and not response.content.at_eof():
            start += (await response.content.readchunk())[0]
        decoder = decoder_for(start, kind, self.settings.max_image_bytes)
        if decoder is None:
            said = refusals.message(200, kind, await self._start(response, start), self._key.redact)
            instead = "text" if kind.startswith(("image/", "application/octet")) else kind
            raise BodyError(f"{instead} instead of an image: {said}")
        pieces = decoder.feed(start)
        del start  # while the disk is waited for, the pieces are enough to hold
        for piece in pieces:
            await writer.write(piece)
        # Chunks as they came: whatever has gathered meanwhile is not worth a copy to join it.
        async for chunk, _ in response.content.iter_chunks():
            pieces = decoder.feed(chunk)
            del chunk
            for piece in pieces:
                await writer.write(piece)
        pieces, document = decoder.close()
        for piece in pieces:
            await writer.write(piece)
        # A body that goes on until the connection is closed may have been cut anywhere, but JSON tells its own end.
        is_framed = response.headers.get("Content-Length") is not None or "Transfer-Encoding" in response.headers
        return document, is_framed or isinstance(decoder, JsonDecoder)

    async def _refusal(self, response: aiohttp.ClientResponse) -> tuple[str, Fault | None, bool]:
        """Why `response` is no success, without the key; what no status says; whether the API itself says so."""
        body = await self._start(response)
        own = refusals.is_from_api(body)
        text = refusals.message(response.status, response.content_type, body, self._key.redact)
        if 300 <= response.status < 400:
            target = self._key.redact(response.headers.get("Location", "nowhere"))
            return (
                one_line(f"redirected to {target[:200]}, not followed; is --base-url right?"),
                Fault.NOT_THE_API,
                False,
            )
        if response.status == 407:
            return f"{text}; the proxy wants a name and a password", Fault.NOT_THE_API, False
        if response.status in _NEEDS_OWN_WORDS and not own:
            return text, Fault.NOT_THE_API, False
        # No other success brings an image, nor does what is no answer's status; one may have been made all the same.
        return text, Fault.NO_IMAGE if response.status < 300 else None, own

    async def _start(self, response: aiohttp.ClientResponse, read: bytes = b"") -> bytes:
        """The start of a body that is no image, without the key: what comes before it breaks or takes too long.

        `read` has been read of it already.
        """
        body = bytearray(read)
        whole = False
        # The status is news enough: whatever becomes of the body is no fault of its own.
        with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
            async with Deadline(self._clock, _REFUSAL_S):
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_REFUSAL_BYTES:
                        break
                else:
                    whole = True
        # Redacted before anything is cut, here or for a message: half a key is one too many.
        return self._key.redact_bytes(bytes(body[:_MAX_REFUSAL_BYTES]), whole=whole)

    async def _get(self, path: str) -> bytes:
        sent_s = self._clock.now()
        ends_s = self._clock.running() + self.settings.connect_timeout_s
        try:
            async with (
                Deadline(self._clock, _LISTING_TIMEOUT_S),
                self._session.get(
                    self._base + path, headers={"Authorization": self._key.header()}, allow_redirects=False
                ) as response,
            ):
                head = answer_headers.read(response.headers, wall_s=self._clock.wall(), redact=self._key.redact)
                self.listed = Answer(response.status, head, "", sent_s, self._clock.now())
                if response.status != 200:
                    text, fault, own = await self._refusal(response)
                    self.listed = Answer(response.status, head, "", sent_s, self._clock.now(), from_api=own)
                    if response.status in (401, 403):
                        raise KeyRefusedError(text, response.status)
                    hint = "; is --base-url right?" if fault is Fault.NOT_THE_API and response.status >= 404 else ""
                    raise ApiError(f"{path}: {text}{hint}", response.status)
                body = await response.content.read(_MAX_LISTING_BYTES)
                while not response.content.at_eof() and len(body) < _MAX_LISTING_BYTES:
                    body += await response.content.read(_MAX_LISTING_BYTES - len(body))
                is_json = body.lstrip()[:1] in (b"{", b"[")  # a web site answers any address with a page
                self.listed = Answer(response.status, head, "", sent_s, self.listed.received_s, from_api=is_json)
                # What it lists is shown, and stored for the next time.
                return self._key.redact_bytes(body) if self._key.is_long else body
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError) and ends_s - self._clock.running() > _AHEAD_OF_TIME_S:
                return await self._get(path)  # aiohttp has counted time in which this process was stopped
            raise ApiError(f"{self._base}: no answer in time") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ApiError(f"{self._base}: {self._told(error)}") from None

    def _told(self, error: Exception) -> str:
        """What an error of the network says, in one line, without the key."""
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return "the server closed it before its answer was whole"  # aiohttp's own words may be what it has parsed
        text = _QUOTED.sub(" …", str(error))
        return refusals.in_short(self._key.redact(text)) or type(error).__name__


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
    except ValueError:  # UnicodeError is one; not chained, as its text may have the address with a password
        raise UsageError(f"{what}: {without_userinfo(text)!r} is no http:// or https:// address") from None
    return url


def _parse_base_url(text: str) -> URL:
    """The address in `text`. Raises UsageError where it is none, or has a name or password in it."""
    url = _parse_address(text, "--base-url")
    if url.raw_user is not None or url.raw_password is not None:
        raise UsageError(
            "--base-url: an address with a name or password in it is not used; the key comes from VENICE_API_KEY or"
            " --api-key-file"
        )
    return url


def _proxy_for(base_url: str) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """Return the proxy that the environment names for `base_url` (HTTPS_PROXY, NO_PROXY, …), and its credentials.

    A server on this machine is asked directly: a proxy elsewhere would look for it on its own.
    """
    url = URL(base_url)
    proxy = getproxies().get(url.scheme)
    if proxy is None or url.host is None or is_local(base_url) or _goes_directly(url.host, url.port):
        return None, None
    address = _parse_address(proxy if "://" in proxy else f"http://{proxy}", f"the proxy for {url.scheme}")
    if address.user is None:
        return address, None
    return address.with_user(None), aiohttp.BasicAuth(address.user, address.password or "")


def _goes_directly(host: str, port: int | None) -> bool:
    """Tell whether NO_PROXY (or the system) has `host` asked without a proxy: by name, domain, port or network."""
    shown = f"[{host}]" if ":" in host else host
    if proxy_bypass(f"{shown}:{port}") or proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in getproxies_environment().get("no", "").split(","):
        with suppress(ValueError):  # a name
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False


def _server_timing(document: dict[str, Any]) -> ServerTiming | None:
    try:
        return msgspec.convert(document.get("timing"), ServerTiming | None)
    except msgspec.ValidationError:
        return None  # only a record's decoration: no reason to lose an image
