"""Bodies of requests, from the wire to plain values."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from venice_batch.sandbox.errors import Refusal

JSON_BYTES = 35 * 1024 * 1024
FILE_BYTES = 25 * 1024 * 1024
MOST_FILES = 10
"""Limits of era 2026-10 (source: Venice's agent skills, venice-errors and venice-image-edit, 2026-10-02)."""
GENERATION_BYTES = 32 * 1024 * 1024
RETOUCH_BYTES = 48 * 1024 * 1024
"""Limits of era 2026-08: room for a file of 25 MB in base64 with some layers beside it."""
WRONG_TYPE = Refusal(400, "'Content-Type' must be 'application/json'", counted=False)
WRONG_TYPE_OLD = Refusal(415, "Invalid content type. Send JSON with Content-Type: application/json")
NO_JSON = Refusal(400, "Invalid JSON request", counted=False)
NO_JSON_OLD = Refusal(400, "Invalid JSON in request body")
TOO_LARGE = Refusal(413, "Request body exceeds the maximum allowed size.", code="PAYLOAD_TOO_LARGE", counted=False)
TOO_LARGE_OLD = Refusal(413, "Request body too large")
FILE_TOO_LARGE = Refusal(413, "File exceeds the maximum allowed size of 25 MB.", code="PAYLOAD_TOO_LARGE")
TOO_MANY_FILES = Refusal(400, f"Too many files. At most {MOST_FILES} are accepted")
BROKEN_FORM = Refusal(400, "Invalid multipart form data")


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body: any JSON value, or the parts of a form by name, files as bytes and repeated names as lists."""

    value: object
    is_form: bool = False


class Intake:
    """Reads bodies by the rules of one era."""

    def __init__(self, *, old: bool) -> None:
        self._old = old

    async def read_json(self, request: web.Request) -> Body | Refusal:
        """Return the JSON value of a request, or the 400, 413 or 415 that it is answered with."""
        return await self._read_json(request, GENERATION_BYTES if self._old else JSON_BYTES)

    async def read_form_or_json(self, request: web.Request) -> Body | Refusal:
        """Return the form or JSON value of a request, or the refusal that it is answered with."""
        if request.content_type == "multipart/form-data":
            return await self._read_form(request)
        return await self._read_json(request, RETOUCH_BYTES if self._old else JSON_BYTES)

    async def _read_json(self, request: web.Request, most_bytes: int) -> Body | Refusal:
        if request.content_type != "application/json":
            return WRONG_TYPE_OLD if self._old else WRONG_TYPE
        try:
            return Body(orjson.loads(await request.clone(client_max_size=most_bytes).read()))
        except orjson.JSONDecodeError:
            return NO_JSON_OLD if self._old else NO_JSON
        except web.HTTPRequestEntityTooLarge:
            return TOO_LARGE_OLD if self._old else TOO_LARGE

    async def _read_form(self, request: web.Request) -> Body | Refusal:
        room, files, parts = RETOUCH_BYTES if self._old else MOST_FILES * FILE_BYTES, 0, dict[str, list[bytes | str]]()
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
            # aiohttp asserts that parts end where they should.
            return BROKEN_FORM
        return Body({name: values[0] if len(values) == 1 else values for name, values in parts.items()}, is_form=True)


def _value(data: bytes, *, is_file: bool) -> bytes | str:
    if is_file:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
