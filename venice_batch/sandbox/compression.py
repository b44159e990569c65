"""Compression of JSON answers."""

from __future__ import annotations

import zlib
from typing import Literal

try:
    import brotli
except ImportError:  # not a dependency: a client asks for br only if it has the package itself
    brotli = None

Encoding = Literal["", "gzip", "br"]
WORTHWHILE_BYTES = 512


def choose(accept_encoding: str) -> Encoding:
    """Return the encoding for an Accept-Encoding header: br (where Brotli is installed) before gzip, else ""."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";q=")
        weights[name.strip()] = _weight(weight)
    if brotli is not None and weights.get("br", 0) > 0:
        return "br"
    return "gzip" if weights.get("gzip", 0) > 0 else ""


def compress(body: bytes, encoding: Encoding) -> bytes:
    """Return the body in this encoding, at the fastest level: base64 of images gains little from better
    ones.
    """
    if encoding == "br":
        return bytes(brotli.compress(body, quality=1))
    if encoding == "gzip":
        packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
        return packer.compress(body) + packer.flush()
    return body


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
