"""Bodies of requests, from the wire to plain values."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from venice_batch.sandbox.refusal import Refusal

GENERATION_BYTES = 32 * 1024 * 1024
RETOUCH_BYTES = 48 * 1024 * 1024
"""Room for a file of 25 MB in base64 with some layers beside it."""
WRONG_TYPE = Refusal(415, "Invalid content type. Send JSON with Content-Type: application/json")
TOO_LARGE = Refusal(413, "Request body too large")
BROKEN_FORM = Refusal(400, "Invalid multipart form data")


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body: any JSON value, or the parts of a form by name, files as bytes and repeated names as lists."""

    value: object
    is_form: bool = False


async def read_json(request: web.Request) -> Body | Refusal:
    """Return the JSON value of a request, or the 400, 413 or 415 that it is answered with."""
    if request.content_type != "application/json":
        return WRONG_TYPE
    try:
        return Body(orjson.loads(await request.read()))
    except orjson.JSONDecodeError:
        return Refusal(400, "Invalid JSON in request body")
    except web.HTTPRequestEntityTooLarge:
        return TOO_LARGE


async def read_form_or_json(request: web.Request) -> Body | Refusal:
    """Return the form or JSON value of a request, or the refusal that it is answered with."""
    if request.content_type == "multipart/form-data":
        return await _read_form(request)
    return await read_json(request.clone(client_max_size=RETOUCH_BYTES))


async def _read_form(request: web.Request) -> Body | Refusal:
    room, parts = RETOUCH_BYTES, dict[str, list[bytes | str]]()
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.name:
                return BROKEN_FORM
            data = bytearray()
            while chunk := await part.read_chunk(1 << 16):
                data += chunk
                room -= len(chunk)
                if room < 0:
                    return TOO_LARGE
            parts.setdefault(part.name, []).append(_value(bytes(data), is_file=part.filename is not None))
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
