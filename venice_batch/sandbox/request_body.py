"""Read the bodies of requests, and the images that they contain or link to."""

from __future__ import annotations

import binascii
import ipaddress
from dataclasses import dataclass

import aiohttp
import orjson
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage
from yarl import URL

from venice_batch.sandbox.errors import ErrorAnswer

JSON_BYTES = 35 * 1024 * 1024
FILE_BYTES = 25 * 1024 * 1024
MOST_FILES = 10
"""Limits of era 2026-10 (source: Venice's agent skills, venice-errors and venice-image-edit, 2026-10-02).

A file must be smaller than `FILE_BYTES` in either era (source: API description, /image/edit).
"""
GENERATION_BYTES = 32 * 1024 * 1024
EDIT_BYTES = 48 * 1024 * 1024
"""Limits of era 2026-08: room for a file of 25 MB in base64 and some layers."""
WRONG_TYPE = ErrorAnswer(400, "'Content-Type' must be 'application/json'", uses_error_budget=False)
WRONG_TYPE_OLD = ErrorAnswer(415, "Invalid content type. Send JSON with Content-Type: application/json")
NO_JSON = ErrorAnswer(400, "Invalid JSON request", uses_error_budget=False)
NO_JSON_OLD = ErrorAnswer(400, "Invalid JSON in request body")
TOO_LARGE = ErrorAnswer(
    413, "Request body exceeds the maximum allowed size.", code="PAYLOAD_TOO_LARGE", uses_error_budget=False
)
TOO_LARGE_OLD = ErrorAnswer(413, "Request body too large")
FILE_TOO_LARGE = ErrorAnswer(413, "File exceeds the maximum allowed size of 25 MB.", code="PAYLOAD_TOO_LARGE")
TOO_MANY_FILES = ErrorAnswer(400, f"Too many files. At most {MOST_FILES} are accepted")
BROKEN_FORM = ErrorAnswer(400, "Invalid multipart form data")
FETCH_TIMEOUT_S = 10.0
IMAGE_TOO_LARGE = "File size must be less than 25MB"
NO_IMAGE = "Invalid image: expected base64, a data URL or a URL"
ELSEWHERE = "The sandbox fetches images from loopback addresses only"


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body: any JSON value, or the parts of a form by name.

    Files in a form are bytes; a repeated name has a list of values.
    """

    value: object
    is_form: bool = False


class BodyReader:
    """Reads bodies by the rules of one era."""

    def __init__(self, *, old: bool) -> None:
        self._old = old

    async def read_json(self, request: web.Request) -> Body | ErrorAnswer:
        """Return the JSON value of a request, or its 400, 413 or 415."""
        return await self._read_json(request, GENERATION_BYTES if self._old else JSON_BYTES)

    async def read_form_or_json(self, request: web.Request) -> Body | ErrorAnswer:
        """Return the form or JSON value of a request, or its error answer."""
        if request.content_type == "multipart/form-data":
            return await self._read_form(request)
        return await self._read_json(request, EDIT_BYTES if self._old else JSON_BYTES)

    async def _read_json(self, request: web.Request, most_bytes: int) -> Body | ErrorAnswer:
        if request.content_type != "application/json":
            return WRONG_TYPE_OLD if self._old else WRONG_TYPE
        try:
            return Body(orjson.loads(await request.clone(client_max_size=most_bytes).read()))
        except orjson.JSONDecodeError:
            return NO_JSON_OLD if self._old else NO_JSON
        except web.HTTPRequestEntityTooLarge:
            return TOO_LARGE_OLD if self._old else TOO_LARGE

    async def _read_form(self, request: web.Request) -> Body | ErrorAnswer:
        room, files, parts = EDIT_BYTES if self._old else MOST_FILES * FILE_BYTES, 0, dict[str, list[bytes | str]]()
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or not part.name:
                    return BROKEN_FORM
                is_file = part.filename is not None
                files += is_file
                if files > MOST_FILES and not self._old:
                    return TOO_MANY_FILES
                data = bytearray()
                while chunk := await part.read_chunk(1 << 16):
                    data += chunk
                    room -= len(chunk)
                    if len(data) >= FILE_BYTES and not self._old:
                        return FILE_TOO_LARGE
                    if room < 0:
                        return TOO_LARGE_OLD
                parts.setdefault(part.name, []).append(_value(bytes(data), is_file=is_file))
        except (ValueError, AssertionError, BadHttpMessage):
            # aiohttp asserts that parts end in the right place.
            return BROKEN_FORM
        return Body({name: values[0] if len(values) == 1 else values for name, values in parts.items()}, is_form=True)


async def read_image(source: object, *, urls: bool) -> bytes | str:
    """Return the bytes of an uploaded file, base64, a data URL or, if `urls` allows it, an HTTP URL.

    Returns a message if there is no image to read. Never raises. Only loopback addresses are fetched.
    """
    if isinstance(source, bytes):
        data: bytes | str = source
    elif not isinstance(source, str):
        return NO_IMAGE
    elif source.startswith(("http://", "https://")):
        data = await _fetch(source) if urls else "Invalid image: URLs are not accepted here"
    else:
        data = _decoded(source)
    return IMAGE_TOO_LARGE if isinstance(data, bytes) and len(data) >= FILE_BYTES else data


def is_loopback(host: str) -> bool:
    """Return whether `host` is localhost or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _value(data: bytes, *, is_file: bool) -> bytes | str:
    if is_file:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


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
        # Redirects may lead off this machine.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return f"Failed to fetch the image: status {response.status}"
            data = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                data += chunk
                if len(data) >= FILE_BYTES:
                    return IMAGE_TOO_LARGE
            return bytes(data)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return "Failed to fetch the image"
