"""A server that says, byte for byte, what a test has it say."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def raw_server(answer: Callable[[str, dict[str, Any], bytes], bytes]) -> AsyncIterator[str]:
    """Serve on loopback what `answer` makes of each request's path, JSON body and whole head; yields the base URL.

    Every connection is closed after its answer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b"{}"
            writer.write(answer(head.split()[1].decode(), json.loads(body), head))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"


def framed(body: bytes, *headers: bytes, status: int = 200) -> bytes:
    """Return an answer with its length."""
    lines = [b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, *headers: bytes) -> bytes:
    """Return an answer in two chunks."""
    half = len(body) // 2
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part]
    head = b"\r\n".join((b"HTTP/1.1 200 X", *headers, b"Transfer-Encoding: chunked", b"Connection: close"))
    return head + b"\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


def until_closed(body: bytes, *headers: bytes) -> bytes:
    """Return an answer that ends with its connection, as in HTTP/1.0."""
    return b"\r\n".join((b"HTTP/1.0 200 X", *headers)) + b"\r\n\r\n" + body
