"""Bytes of an input image from what a request names."""

from __future__ import annotations

import binascii

import aiohttp
from yarl import URL

from venice_batch.sandbox.loopback import is_loopback

LARGEST_BYTES = 25 * 1024 * 1024
"""Size that a file must stay below (source: API description, /image/edit)."""
FETCH_TIMEOUT_S = 10.0
TOO_LARGE = "File size must be less than 25MB"
NO_IMAGE = "Invalid image: expected base64, a data URL or a URL"
ELSEWHERE = "The sandbox fetches images from loopback addresses only"


async def obtain(source: object, *, urls: bool) -> bytes | str:
    """Return the bytes behind a file's content, base64, a data URL or, with `urls`, an HTTP URL.

    A text instead of bytes says what is wrong. Never raises.
    """
    if isinstance(source, bytes):
        data: bytes | str = source
    elif not isinstance(source, str):
        return NO_IMAGE
    elif source.startswith(("http://", "https://")):
        data = await _fetch(source) if urls else "Invalid image: URLs are not accepted here"
    else:
        data = _decoded(source)
    return TOO_LARGE if isinstance(data, bytes) and len(data) >= LARGEST_BYTES else data


def _decoded(text: str) -> bytes | str:
    if text.startswith("data:"):
        kind, _, text = text.partition(",")
        if not kind.endswith(";base64"):
            return NO_IMAGE
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True) or NO_IMAGE
    except ValueError:
        return NO_IMAGE


async def _fetch(text: str) -> bytes | str:
    try:
        url = URL(text)
    except ValueError:
        return NO_IMAGE
    if not is_loopback(url.host or ""):
        return ELSEWHERE
    try:
        # Redirects might lead off this machine.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return f"Failed to fetch the image: status {response.status}"
            data = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                data += chunk
                if len(data) >= LARGEST_BYTES:
                    return TOO_LARGE
            return bytes(data)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return "Failed to fetch the image"
