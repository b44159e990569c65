"""A loopback server that answers every POST with one prepared body, as fast as Python's event loop can.

It is no sandbox: it reads the request's length and nothing else, so that what a benchmark measures is the client.
Run as a program it prints its port and serves until killed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import zlib
from typing import cast


def png(size_bytes: int) -> bytes:
    """A valid PNG of about `size_bytes`, made of incompressible rows."""
    import random

    side = max(1, int((size_bytes / 3) ** 0.5))
    rows = b"".join(b"\0" + random.Random(row).randbytes(3 * side) for row in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def answer(image: bytes, form: str) -> bytes:
    """A whole HTTP answer with `image` as "binary", in the native "json" document, or in the "openai" one."""
    if form == "binary":
        kind, body = b"image/png", image
    else:
        text = base64.b64encode(image).decode()
        timing = dict.fromkeys(("inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime", "total"), 1)
        native = {"id": "generate-image-1", "images": [text], "timing": timing}
        document = native if form == "json" else {"created": 1, "data": [{"b64_json": text}]}
        kind, body = b"application/json", json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


NOT_FOUND = b'HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"error":"-"}'


class Counts:
    """How many images have been sent."""

    images = 0

    def answer(self) -> bytes:
        """What the sandbox answers to the same question."""
        body = json.dumps({"requests": self.images, "images": self.images, "in_flight": 0}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class FixedAnswer(asyncio.Protocol):
    """One connection: a prepared answer for every request, the counts so far, 404 for all else (listings)."""

    def __init__(self, answers: dict[bytes, bytes], counts: Counts) -> None:
        self._answers = answers
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._transport.is_closing():  # as when whoever asked was killed
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line[:15].lower() == b"content-length:"), 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            method, path, _ = lines[0].split(b" ", 2)
            self._transport.write(self._answer(method, path))

    def _answer(self, method: bytes, path: bytes) -> bytes:
        if (method, path) == (b"GET", b"/sandbox/stats"):
            return self._counts.answer()
        if method != b"POST" or path not in self._answers:
            return NOT_FOUND
        self._counts.images += 1
        return self._answers[path]


async def serve(size_bytes: int, form: str, port: int) -> None:
    """Serve until cancelled, having printed the port."""
    image = png(size_bytes)
    answers = {
        b"/api/v1/image/generate": answer(image, form),
        b"/api/v1/images/generations": answer(image, "openai"),
    }
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FixedAnswer(answers, counts), "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bytes", type=int, default=300_000)
    parser.add_argument("--form", choices=("binary", "json"), default="binary")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(serve(given.bytes, given.form, given.port))
