"""The only module that speaks HTTP."""

from __future__ import annotations

import errno
import math
import os
import re
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from venice_batch._version import __version__
from venice_batch.api import listings
from venice_batch.api.addresses import check_base_url, proxy_for
from venice_batch.api.answers import Answer, Fault, Reply, server_timing
from venice_batch.api.decode import MAX_IMAGE_BYTES, JsonDecoder, decoder_for
from venice_batch.api.errors_in import Refusal, error_message, exception_text, refusal, shortened
from venice_batch.api.requests import outgoing
from venice_batch.api.responses import AnswerHeaders, read_headers
from venice_batch.clock import Deadline
from venice_batch.errors import ApiError, BodyError, KeyRefusedError, SourceError, UnrecognisedError, UsageError
from venice_batch.image_format import START_BYTES
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from venice_batch.api.decode import Piece
    from venice_batch.api.key import ApiKey
    from venice_batch.api.requests import Outgoing
    from venice_batch.catalogue.models import ModelKind
    from venice_batch.clock import Clock
    from venice_batch.model import ImageFile

VENICE = "https://api.venice.ai/api/v1"
VIOLATION = "the image broke the API's content rules; nothing was charged, and there is no image"
_LISTING_TIMEOUT_S = 20.0
_MAX_REFUSAL_BYTES = 64 * 1024
_REFUSAL_S = 5.0
"""Time to read a refusal's text. Most of it arrives with the headers; waiting longer would hold a slot for nothing."""
_STOPPED_AT_LEAST_S = 0.5
"""A connect timeout that fires this much too early counted time in which this process was stopped."""
_READ_BYTES = 512 * 1024
"""Read at a time. Each read takes a turn of the event loop; images of 300 KB take a sixth less time than by 256 KB."""
_READ_BUFFER_BYTES = 224 * 1024
"""aiohttp pauses reading when twice this waits: after one whole read, so that no connection holds two."""
_MAX_HEADER_BYTES = 256 * 1024
"""An enhanced prompt comes in a header, at up to nine bytes a letter. This holds 29,000 letters, three times the
longest prompt that any model takes. A longer header loses its answer, so that no server can fill the memory."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")
"""The first of several errors in the text of asyncio's error, if it has tried several addresses."""
USAGE_ROWS = 1000
"""Lines on a page of the usage history: the most that the API allows (Venice's agent skills, venice-billing)."""
_MAX_LISTING_BYTES = 16 * 1024 * 1024


class ImageWriter(Protocol):
    """Takes the images of one job. It ends with `commit` or `discard`; calling one after the other is harmless."""

    async def write(self, piece: Piece) -> None:
        """Take the next bytes of an image."""
        ...

    async def commit(self, *, all_came: bool = True, answer: Answer | None = None) -> tuple[ImageFile, ...]:
        """Put the images under their final names; return them in the order received.

        `all_came`: the server confirmed that the body is complete. Otherwise each image must contain its own end.
        `answer`: the one that they came with.

        Raises:
            BodyError: one of them is not an image, or is cut short; none was put in place.
            UnrecognisedError: one of them has an unknown format; all were kept, but not among the images.
            FolderError: the folder cannot store them.
        """
        ...

    async def discard(self) -> None:
        """Remove everything written and not committed."""
        ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the API is, and how long to wait for it.

    `timeout_s` limits one attempt from its start to its last byte; the API's slowest documented step, prompt
    enhancement, alone takes 30 s. `connect_timeout_s` limits connecting, TLS included. Time in which this process is
    stopped does not count towards `timeout_s`.

    Raises:
        UsageError: the address or a timeout cannot be used.
    """

    base_url: str = VENICE
    timeout_s: float = 300.0
    connect_timeout_s: float = 10.0
    max_image_bytes: int = MAX_IMAGE_BYTES
    concurrency: int = 256

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        if not (0 < self.timeout_s < math.inf and 0 < self.connect_timeout_s < math.inf):
            raise UsageError("timeouts must be positive numbers of seconds")


@dataclass(slots=True)
class _Attempt:
    """One request, and what has arrived of its answer so far."""

    sent_s: float
    status: int | None = None
    headers: AnswerHeaders = field(default_factory=AnswerHeaders)
    ttfb_s: float | None = None


class ApiClient:
    """A session with the API; an async context manager.

    `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are honoured; a server on this machine never gets a proxy. Redirects
    are never followed, so the key goes to no other host. Nothing that the server says leaves this class before the key
    is removed from it.
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
        """The last answer to a listing request, status and headers only; None before the first."""

    async def __aenter__(self) -> Self:
        self._session = await self._open(reuse=True)
        self._stack.enter_context(self._clock.beating())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def _open(self, *, reuse: bool) -> aiohttp.ClientSession:
        """Open a session that closes with this client; without `reuse` every request gets a connection of its own."""
        # OpenSSL reads SSL_CERT_FILE when a context is made, so one made here sees today's environment. Loading the
        # certificates takes as long as a small import: only https needs it.
        tls = ssl.create_default_context() if self._base.lower().startswith("https:") else True
        proxy = proxy_for(self._base)
        return await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.settings.concurrency + 2, ssl=tls, force_close=not reuse),
                # Not trust_env: it would look for a .netrc file, in a thread, at every request.
                proxy=proxy.address if proxy else None,
                proxy_auth=aiohttp.BasicAuth(*proxy.login) if proxy and proxy.login else None,
                # The API reads no cookies, and looking for them takes time.
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_BUFFER_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                headers={"User-Agent": f"venice-batch/{__version__}"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.settings.connect_timeout_s),
            )
        )

    async def generate(self, endpoint: Endpoint, body: dict[str, Any], writer: ImageWriter) -> Reply:
        """Make one attempt: send `body`, and pass the images of the answer to `writer`.

        Every answer and every failure on the way becomes a Reply. Whatever happens, cancellation included, `writer`
        keeps nothing that it did not commit.

        Raises:
            FolderError: the images could not be stored.
            SourceError: a picture to send changed since it was checked; no server received the whole request.
        """
        request = await outgoing(endpoint, body)
        attempt = _Attempt(self._clock.now())
        kept: tuple[str, ...] = ()
        try:
            return await self._exchange(self._urls[endpoint], request, writer, attempt)
        except (BodyError, TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            fault, text = self._fault_of(error)
            if isinstance(error, UnrecognisedError):
                kept = error.paths
            if fault is Fault.CUT and attempt.status is None and self._reuses:
                # Some servers hang up on a connection's next request although they said keep-alive. Nobody knows
                # whether they served it, so no job may meet this twice: from now on, a connection for each request.
                self._reuses = False
                self._session = await self._open(reuse=False)
        finally:
            await writer.discard()
        text = shortened(self._key.redact(text))
        answer = Answer(attempt.status, attempt.headers, text, attempt.sent_s, self._clock.now(), fault)
        return Reply(answer, ttfb_s=attempt.ttfb_s, unrecognised=kept)

    async def _exchange(self, url: URL, request: Outgoing, writer: ImageWriter, attempt: _Attempt) -> Reply:
        """Send one request, read its answer and commit its images; note the progress in `attempt`."""
        async with (
            Deadline(self._clock, self.settings.timeout_s) as deadline,
            self._session.post(
                url,
                data=request.data,
                headers={"Authorization": self._key.header(), "Accept-Encoding": "identity", **request.headers},
                allow_redirects=False,
            ) as response,
        ):
            deadline.has_arrived = response.content.is_eof
            first_s = self._clock.now()
            attempt.ttfb_s = first_s - attempt.sent_s
            attempt.status = response.status
            attempt.headers = self._read_headers(response)
            if response.status != 200:
                found = await self._refusal(response)
                return Reply(self._answer(attempt, *found), ttfb_s=attempt.ttfb_s)
            if attempt.headers.content_violation:
                # The body is a placeholder, or blacked out: no image of the prompt.
                return Reply(self._answer(attempt, VIOLATION), ttfb_s=attempt.ttfb_s)
            document, all_came = await self._stream(response, writer)
        last_s = self._clock.now()
        answer = Answer(attempt.status, attempt.headers, "", attempt.sent_s, last_s)
        files = await writer.commit(all_came=all_came, answer=answer)
        times_s = (attempt.ttfb_s, last_s - first_s, self._clock.now() - last_s)
        return Reply(answer, files, server_timing(document), *times_s)

    def _answer(self, attempt: _Attempt, text: str, fault: Fault | None = None, from_api: bool = True) -> Answer:
        """Return an answer that has just arrived."""
        now_s = self._clock.now()
        return Answer(attempt.status, attempt.headers, text, attempt.sent_s, now_s, fault, from_api=from_api)

    def _fault_of(self, error: Exception) -> tuple[Fault, str]:
        """Return what went wrong on the way and how to say it; a SourceError behind `error` is raised."""
        if isinstance(error, UnrecognisedError):
            return Fault.UNRECOGNISED, str(error)
        if isinstance(error, BodyError):
            return Fault.NO_IMAGE, str(error)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Fault.CONNECT, f"no connection within {self.settings.connect_timeout_s:g} s"
        if isinstance(error, TimeoutError):
            return Fault.TIMEOUT, f"no answer within {self.settings.timeout_s:g} s"
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL | aiohttp.ClientHttpProxyError):
            return Fault.CONNECT, self._reason(error)
        if isinstance(error.__cause__, SourceError):
            raise error.__cause__ from None
        return Fault.CUT, f"the connection broke: {self._reason(error)}"

    async def styles(self) -> tuple[str, ...]:
        """Return the names of the style presets. Raises ApiError, KeyRefusedError."""
        return listings.parse_styles(await self._get("/image/styles"))

    async def models(self, kind: ModelKind = "image") -> tuple[dict[str, Any], ...]:
        """Return the models of one kind as the API lists them. Raises ApiError, KeyRefusedError."""
        return listings.parse_models(await self._get(f"/models?type={kind}"))

    async def limits(self) -> listings.Limits:
        """Return the key's quotas and balances. Raises ApiError, KeyRefusedError (also if the key may not see them)."""
        return listings.parse_limits(await self._get("/api_keys/rate_limits"))

    async def usage_history(self, start_unix_s: float, end_unix_s: float) -> AsyncIterator[listings.UsagePage]:
        """Yield the account's usage history of a time, page by page; this needs an ADMIN key.

        Raises:
            KeyRefusedError: the key may not read it.
            ApiError: the API does not answer, or not as expected.
        """
        start, end = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (start_unix_s, end_unix_s + 1))
        query = f"startTimestamp={start}&endTimestamp={end}&pageSize={USAGE_ROWS}"
        cursors = {""}
        while True:
            page = listings.parse_usage(await self._get(f"/billing/usage-history?{query}"))
            yield page
            if page.next_cursor is None:
                return
            if page.next_cursor in cursors:
                raise ApiError("the usage history repeats a page; run the same command again")
            cursors.add(page.next_cursor)
            query = f"cursor={quote(page.next_cursor, safe='')}"  # it carries the times, and may not come with them

    async def _stream(self, response: aiohttp.ClientResponse, writer: ImageWriter) -> tuple[dict[str, Any], bool]:
        """Pass the body's images to `writer`; return the rest of it, and whether the body is known to be complete."""
        kind = response.content_type
        transport = response.connection.transport if response.connection is not None else None
        if transport is not None and hasattr(transport, "max_size"):  # undocumented, of asyncio's own loop; else 256 KB
            transport.max_size = _READ_BYTES
        start = b""
        while len(start) < START_BYTES and not response.content.at_eof():
            start += (await response.content.readchunk())[0]
        decoder = decoder_for(start, kind, self.settings.max_image_bytes)
        if decoder is None:
            said = error_message(200, kind, await self._read_start(response, start), self._key.redact)
            instead = "text" if kind.startswith(("image/", "application/octet")) else kind
            raise BodyError(f"{instead} instead of an image: {said}")
        pieces = decoder.feed(start)
        del start  # while the disk is slow, only the pieces stay in memory
        for piece in pieces:
            await writer.write(piece)
        # Chunks as they came: joining them would cost a copy.
        async for chunk, _ in response.content.iter_chunks():
            pieces = decoder.feed(chunk)
            del chunk
            for piece in pieces:
                await writer.write(piece)
        pieces, document = decoder.close()
        for piece in pieces:
            await writer.write(piece)
        # A body that lasts until the connection closes may have been cut anywhere; only JSON shows its own end.
        is_framed = response.headers.get("Content-Length") is not None or "Transfer-Encoding" in response.headers
        return document, is_framed or isinstance(decoder, JsonDecoder)

    async def _refusal(self, response: aiohttp.ClientResponse) -> Refusal:
        """Read why `response` is not a success."""
        body, location = await self._read_start(response), response.headers.get("Location")
        return refusal(response.status, response.content_type, body, location=location, redact=self._key.redact)

    async def _read_start(self, response: aiohttp.ClientResponse, start: bytes = b"") -> bytes:
        """Return the beginning of a body that is not an image, without the key; `start` has been read already.

        A body that breaks or takes longer than `_REFUSAL_S` counts up to there.
        """
        body = bytearray(start)
        whole = False
        # The status already says what matters, so a broken body is no failure of its own.
        with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
            async with Deadline(self._clock, _REFUSAL_S):
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_REFUSAL_BYTES:
                        break
                else:
                    whole = True
        # Redact before anything is cut, here or for a message: half a key is one too many.
        return self._key.redact_bytes(bytes(body[:_MAX_REFUSAL_BYTES]), whole=whole)

    async def _get(self, path: str) -> bytes:
        """Return the body of a listing without the key, and note the answer in `listed`."""
        attempt = _Attempt(self._clock.now())
        ends_s = self._clock.running() + self.settings.connect_timeout_s
        headers = {"Authorization": self._key.header()}
        try:
            async with (
                Deadline(self._clock, _LISTING_TIMEOUT_S),
                self._session.get(self._base + path, headers=headers, allow_redirects=False) as response,
            ):
                attempt.status, attempt.headers = response.status, self._read_headers(response)
                self.listed = self._answer(attempt, "")
                if response.status != 200:
                    found = await self._refusal(response)
                    self.listed = self._answer(attempt, "", from_api=found.from_api)
                    if response.status in (401, 403):
                        raise KeyRefusedError(found.text, response.status)
                    elsewhere = found.fault is Fault.NOT_THE_API and response.status >= 404
                    hint = "; is --base-url right?" if elsewhere else ""
                    raise ApiError(f"{path}: {found.text}{hint}", response.status)
                body = await response.content.read(_MAX_LISTING_BYTES)
                while not response.content.at_eof() and len(body) < _MAX_LISTING_BYTES:
                    body += await response.content.read(_MAX_LISTING_BYTES - len(body))
                is_json = body.lstrip()[:1] in (b"{", b"[")  # a web site answers every address with a page
                self.listed = msgspec.structs.replace(self.listed, from_api=is_json)
                # The listing is shown, and stored for next time.
                return self._key.redact_bytes(body) if self._key.is_long else body
        except TimeoutError as error:
            early = isinstance(error, aiohttp.ConnectionTimeoutError)
            if early and ends_s - self._clock.running() > _STOPPED_AT_LEAST_S:
                return await self._get(path)  # aiohttp counted time in which this process was stopped
            raise ApiError(f"{self._base}: no answer in time") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ApiError(f"{self._base}: {self._reason(error)}") from None

    def _read_headers(self, response: aiohttp.ClientResponse) -> AnswerHeaders:
        return read_headers(response.headers, wall_s=self._clock.wall(), redact=self._key.redact)

    def _reason(self, error: Exception) -> str:
        """Return a network error's text on one line, without the key."""
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return "the server closed it before its answer was complete"  # aiohttp may quote what it has parsed
        if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
            return shortened(self._key.redact(_connect_reason(error)))
        return exception_text(error, self._key.redact)


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    """Return why there is no connection, such as "localhost:80: connection refused"."""
    cause = error.os_error
    number = cause.errno
    if number is None and (found := _ERRNO.search(str(cause))):
        number = int(found[1])
    what = os.strerror(number) if number and number in errno.errorcode else cause.strerror or str(cause)
    return f"{error.host}:{error.port}: {what[:1].lower()}{what[1:]}"
