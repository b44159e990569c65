"""Injected faults: pick them, make their faulty answers, and send those."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from venice_batch.sandbox.errors import AT_CAPACITY, ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from venice_batch.sandbox.settings import SandboxSettings

BOMB_BYTES = 1 << 30
"""Size of the gzip bomb once inflated."""
ENDLESS_BYTES = 1 << 31
"""Length of the body of "endless"."""
NEEDS_ANSWER = frozenset({"reset-mid", "short-body", "slow", "bad-base64", "truncated-json"})
"""Faults that corrupt a real answer; the others need none."""
CHARGED_STATUS = 200
SLOW_PIECES = 50

_CHUNK_BYTES = 1 << 16
_BOMB_BLOCK_BYTES = 1 << 24
_MESSAGES = {
    408: "Request timeout",
    429: "The model is currently overloaded. Please try again later.",
    500: "Inference processing failed",
    503: AT_CAPACITY,
    504: "The request timed out",
}
_POLL_S = 0.02


class FaultPicker:
    """Picks a fault for each admitted request, in order: from the schedule if it has one, else by chance."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._random = random.Random(settings.fault_seed)
        self._seen = 0

    def next(self) -> str:
        """Return the fault for the next request, or ""."""
        self._seen += 1
        # Drawn for scheduled requests too: a schedule must not shift the faults of later ones.
        hit = self._random.random() < self._settings.fault_rate
        kind = self._random.choice(self._settings.fault_kinds) if hit else ""
        return self._settings.fault_schedule.get(self._seen, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyAnswer:
    """One faulty answer, as plain data.

    `declared_bytes` is its Content-Length; None sends it chunked. After the body, `ending` "whole" ends the answer
    properly, "close" closes the connection, "abort" resets it and "hold" keeps it open and silent. `status` 0 sends
    nothing at all. `spread` drips the chunks over the sandbox's stall time.
    """

    status: int = CHARGED_STATUS
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    declared_bytes: int | None = None
    ending: Literal["whole", "close", "abort", "hold"] = "whole"
    spread: bool = False


def injected_error(status: int, retry_after_503_s: float) -> ErrorAnswer:
    """Return the API's own error for an injected status.

    Raises: KeyError for a status that only gateways send.
    """
    hint = {"Retry-After": f"{retry_after_503_s:g}"} if status == 503 and retry_after_503_s else {}
    return ErrorAnswer(status, _MESSAGES[status], headers=hint)


def from_gateway(status: int) -> bool:
    """Return whether the gateway in front of the API answers with this status, as HTML."""
    return status == 502 or status >= 520


def faulty_answer(fault: str, redirect_to: str, rng: random.Random) -> FaultyAnswer:
    """Return the answer for a fault that needs no real answer.

    Raises: KeyError for a fault that needs one.
    """
    json_type = {"Content-Type": "application/json"}
    if fault.isdigit():
        return _page(int(fault), f"{fault} error from the gateway")
    if fault == "gzip-bomb":
        return FaultyAnswer(headers={**json_type, "Content-Encoding": "gzip"}, chunks=_bomb())
    if fault == "endless":
        return FaultyAnswer(headers=json_type, chunks=_endless())
    if fault == "html":
        return _page(200, "Just a moment...")
    silent = {
        "reset-before": FaultyAnswer(status=0, ending="abort"),
        "stall": FaultyAnswer(headers=json_type, ending="hold"),
        "redirect": FaultyAnswer(status=307, headers={"Location": redirect_to}, declared_bytes=0),
    }
    if fault in silent:
        return silent[fault]
    body = {"garbage": rng.randbytes(4096), "empty": b"", "no-images": _NO_IMAGES}[fault]
    return _whole(body, json_type)


def corrupted(fault: str, body: bytes, headers: Mapping[str, str], *, is_json: bool) -> FaultyAnswer:
    """Return a real answer, corrupted by a fault of `NEEDS_ANSWER`.

    Binary answers have no JSON to break: their image is truncated instead.
    """
    half = len(body) // 2
    if fault == "reset-mid":
        return FaultyAnswer(headers=headers, chunks=iter((body[:half],)), declared_bytes=len(body), ending="abort")
    if fault == "short-body":
        return FaultyAnswer(headers=headers, chunks=iter((body,)), declared_bytes=len(body) + 1024, ending="close")
    if fault == "slow":
        step = len(body) // SLOW_PIECES + 1
        pieces = (body[at : at + step] for at in range(0, len(body), step))
        return FaultyAnswer(headers=headers, chunks=pieces, declared_bytes=len(body), spread=True)
    if fault == "bad-base64" and is_json:
        # Right at the start of the first image: half-way may be the echo of a long prompt.
        at = next(body.find(mark) + len(mark) for mark in _IMAGE_OPENINGS if mark in body)
        return _whole(body[:at] + b"*?!" + body[at + 3 :], headers)
    return _whole(body[:half], headers)


async def send(
    request: web.Request, answer: FaultyAnswer, headers: Mapping[str, str], stall_s: float
) -> web.StreamResponse:
    """Send a faulty answer until it ends or the client leaves; hold a connection for at most `stall_s`."""
    response = web.StreamResponse(status=answer.status or 200, headers={**headers, **answer.headers})
    if answer.declared_bytes is not None:
        response.content_length = answer.declared_bytes
    try:
        if answer.status:
            await response.prepare(request)
        for chunk in answer.chunks:
            await response.write(chunk)
            if answer.spread:
                await asyncio.sleep(stall_s / SLOW_PIECES)
        if answer.ending == "hold":
            await _hold(request, stall_s)
        if answer.ending == "whole":
            await response.write_eof()
    except ConnectionError:
        # The client has left, as most of these faults make it do.
        return response
    if answer.ending != "whole":
        _hang_up(request, abruptly=answer.ending == "abort")
    return response


_IMAGE_OPENINGS = (b'"images":["', b'"b64_json":"', b";base64,")
_NO_IMAGES = (
    b'{"id":"generate-image-0","images":[],"data":[],"created":0,"timing":{"inferenceDuration":0,'
    b'"inferencePreprocessingTime":0,"inferenceQueueTime":0,"total":0}}'
)


def _whole(body: bytes, headers: Mapping[str, str]) -> FaultyAnswer:
    return FaultyAnswer(headers=headers, chunks=iter((body,)), declared_bytes=len(body))


def _page(status: int, text: str) -> FaultyAnswer:
    body = f"<!DOCTYPE html>\n<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n".encode()
    return FaultyAnswer(
        status=status,
        headers={"Content-Type": "text/html; charset=UTF-8"},
        chunks=iter((body,)),
        declared_bytes=len(body),
    )


def _bomb() -> Iterator[bytes]:
    # One block, flushed so that it can be repeated byte for byte, takes a 64th of the time to compress the whole.
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(bytes(_BOMB_BLOCK_BYTES)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    crc, zeros = 0, bytes(_BOMB_BLOCK_BYTES)
    for _ in range(BOMB_BYTES // _BOMB_BLOCK_BYTES):
        crc = zlib.crc32(zeros, crc)
        yield block
    yield b"\x03\x00" + crc.to_bytes(4, "little") + (BOMB_BYTES & 0xFFFFFFFF).to_bytes(4, "little")


def _endless() -> Iterator[bytes]:
    yield b'{"id":"generate-image-0","images":["'
    chunk = b"QUJD" * (_CHUNK_BYTES // 4)
    for _ in range(ENDLESS_BYTES // _CHUNK_BYTES):
        yield chunk


async def _hold(request: web.Request, stall_s: float) -> None:
    for _ in range(int(stall_s / _POLL_S)):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_POLL_S)


def _hang_up(request: web.Request, *, abruptly: bool) -> None:
    if request.transport is None:
        return
    if not abruptly:
        request.transport.close()
        return
    raw = request.transport.get_extra_info("socket")
    if raw is not None:
        # Without lingering the kernel sends a reset, as a broken peer does, and no orderly end.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
