"""What a fault sends instead of a good answer, as plain data."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox.errors import AT_CAPACITY, Refusal

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

BOMB_BYTES = 1 << 30
"""Size of the gzip bomb once inflated."""
ENDLESS_BYTES = 1 << 31
"""Most bytes that "endless" sends to a client that never leaves."""
NEEDS_ANSWER = frozenset({"reset-mid", "short-body", "slow", "bad-base64", "truncated-json"})
"""Faults that spoil a real answer; the others need none."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One faulty answer: `declared_bytes` is its Content-Length (None: chunked), `ending` what follows the
    body.

    whole ends the answer properly, close shuts the connection, abort resets it, hold keeps it open and
    silent. `status` 0 sends nothing at all. `spread` drips the chunks over the sandbox's stall time.
    """

    status: int = CHARGED_STATUS
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    declared_bytes: int | None = None
    ending: Literal["whole", "close", "abort", "hold"] = "whole"
    spread: bool = False


def status_refusal(status: int, retry_after_503_s: float) -> Refusal:
    """Return the API's own error for an injected status.

    Raises: KeyError for a status that only gateways send.
    """
    hint = {"Retry-After": f"{retry_after_503_s:g}"} if status == 503 and retry_after_503_s else {}
    return Refusal(status, _MESSAGES[status], headers=hint)


def from_gateway(status: int) -> bool:
    """Return whether a status comes as HTML from the gateway in front of the API."""
    return status == 502 or status >= 520


def bare(fault: str, redirect_to: str, rng: random.Random) -> Script:
    """Return the script of a fault that needs no real answer. Raises: KeyError for one that does."""
    json_type = {"Content-Type": "application/json"}
    if fault.isdigit():
        return _page(int(fault), f"{fault} error from the gateway")
    if fault == "gzip-bomb":
        return Script(headers={**json_type, "Content-Encoding": "gzip"}, chunks=_bomb())
    if fault == "endless":
        return Script(headers=json_type, chunks=_endless())
    if fault == "html":
        return _page(200, "Just a moment...")
    silent = {
        "reset-before": Script(status=0, ending="abort"),
        "stall": Script(headers=json_type, ending="hold"),
        "redirect": Script(status=307, headers={"Location": redirect_to}, declared_bytes=0),
    }
    if fault in silent:
        return silent[fault]
    body = {"garbage": rng.randbytes(4096), "empty": b"", "no-images": _NO_IMAGES}[fault]
    return _whole(body, json_type)


def spoil(fault: str, body: bytes, headers: Mapping[str, str], *, is_json: bool) -> Script:
    """Return the script that spoils a real answer.

    Binary answers have no JSON to break: their image is cut instead.
    """
    half = len(body) // 2
    if fault == "reset-mid":
        return Script(headers=headers, chunks=iter((body[:half],)), declared_bytes=len(body), ending="abort")
    if fault == "short-body":
        return Script(headers=headers, chunks=iter((body,)), declared_bytes=len(body) + 1024, ending="close")
    if fault == "slow":
        step = len(body) // SLOW_PIECES + 1
        pieces = (body[at : at + step] for at in range(0, len(body), step))
        return Script(headers=headers, chunks=pieces, declared_bytes=len(body), spread=True)
    if fault == "bad-base64" and is_json:
        # Just behind the first image's opening: half-way may be the echo of a long prompt.
        at = next(body.find(mark) + len(mark) for mark in _IMAGE_OPENINGS if mark in body)
        return _whole(body[:at] + b"*?!" + body[at + 3 :], headers)
    return _whole(body[:half], headers)


_IMAGE_OPENINGS = (b'"images":["', b'"b64_json":"', b";base64,")
_NO_IMAGES = (
    b'{"id":"generate-image-0","images":[],"data":[],"created":0,"timing":{"inferenceDuration":0,'
    b'"inferencePreprocessingTime":0,"inferenceQueueTime":0,"total":0}}'
)


def _whole(body: bytes, headers: Mapping[str, str]) -> Script:
    return Script(headers=headers, chunks=iter((body,)), declared_bytes=len(body))


def _page(status: int, text: str) -> Script:
    body = f"<!DOCTYPE html>\n<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n".encode()
    return Script(
        status=status,
        headers={"Content-Type": "text/html; charset=UTF-8"},
        chunks=iter((body,)),
        declared_bytes=len(body),
    )


def _bomb() -> Iterator[bytes]:
    # One block, flushed so that it can be repeated byte for byte, costs a 64th of compressing the whole.
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
