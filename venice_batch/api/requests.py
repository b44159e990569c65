"""Build request bodies: JSON or a multipart form, with pictures streamed from the disk."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pybase64
from anyio import to_thread

from venice_batch.api.answers import KEYS_OWN
from venice_batch.errors import SourceError, one_line
from venice_batch.jobfile.pictures import FIELD, base64_of
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


CHUNK_BYTES = 3 * 128 * 1024
"""Bytes read from a file at a time. A multiple of 3, so that the base64 of successive chunks joins without padding."""

_JSON = {"Content-Type": "application/json"}

_ROOM_BYTES = 256 * 1024
"""More than all other fields need: a prompt has at most 32,768 characters, up to six bytes each when escaped."""

MOST_JSON_BYTES = 35 * 1000 * 1000
"""The largest JSON body that the API accepts; a larger one is sent as a form (Venice's agent skills, 2026-10-02)."""


class Outgoing(NamedTuple):
    """A request body for the HTTP client, and the headers that belong to it."""

    data: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str]


class _File(NamedTuple):
    path: str
    sha256: str
    size_bytes: int
    raw: bool

    @property
    def sent_bytes(self) -> int:
        return self.size_bytes if self.raw else (self.size_bytes + 2) // 3 * 4


def as_sent(endpoint: Endpoint, request: dict[str, Any], *, prefer_json: bool) -> dict[str, Any]:
    """Return the body to send for `request`.

    A single image is requested as binary: a quarter less to transfer and nothing to decode. The request itself decides
    if it sets `return_binary`. `prefer_json` requests JSON, which includes the server's own timing.
    """
    if (
        endpoint is not Endpoint.GENERATE
        or prefer_json
        or "return_binary" in request
        or request.get("variants", 1) != 1
    ):
        return request
    # The API refuses `variants`, even 1, beside `return_binary`.
    body = {name: value for name, value in request.items() if name != "variants"}
    body["return_binary"] = True
    return body


def is_upload(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Return whether the request is sent as a multipart form, because its pictures are too large for a JSON body.

    A form cannot contain URLs of pictures, so a request with one is JSON whatever its size.
    """
    if endpoint not in FIELD:
        return False
    given = request.get(FIELD[endpoint])
    pictures = given if isinstance(given, list) else [given]
    size = 0
    for picture in pictures:
        if isinstance(picture, dict):
            with suppress(OSError):  # building the request will report it
                size += (os.path.getsize(picture["path"]) + 2) // 3 * 4
        elif isinstance(picture, str):
            if _is_url(picture):
                return False
            size += len(picture)
    return size + _ROOM_BYTES > MOST_JSON_BYTES


def error_bucket(endpoint: Endpoint, request: dict[str, Any]) -> str:
    """Return where the API counts the request's errors: "" for its model's own bucket, else `KEYS_OWN`.

    The API sees a model only in a JSON body with a field `model`.
    """
    names_model = "model" in request and _name(endpoint, "model") == "model" and not is_upload(endpoint, request)
    return "" if names_model else KEYS_OWN


async def outgoing(endpoint: Endpoint, request: dict[str, Any]) -> Outgoing:
    """Return the body of a request; with local pictures it is a stream of known length.

    The body is JSON, or a multipart form where JSON would be too large (see `is_upload`). A stream holds one chunk in
    memory at a time, and keeps no file open between chunks. Each file is hashed before the first byte is sent, and
    again while it is sent. Its last chunk is held back until the hash has been confirmed, so no server ever receives a
    whole request with a picture other than the one that was checked.

    Raises:
        SourceError: a picture cannot be read, or has changed; the stream raises it too.
    """
    if endpoint not in FIELD:
        return Outgoing(orjson.dumps(request), _JSON)
    if is_upload(endpoint, request):
        boundary = secrets.token_hex(16)
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        parts = [await _check(part, raw=True) for part in _form(endpoint, request, boundary)]
    else:
        kind = _JSON
        parts = [await _check(part, raw=False) for part in _parts(endpoint, request)]
    if all(isinstance(part, bytes) for part in parts):
        return Outgoing(b"".join(part for part in parts if isinstance(part, bytes)), kind)
    length = sum(len(part) if isinstance(part, bytes) else part.sent_bytes for part in parts)
    return Outgoing(_stream(parts), {**kind, "Content-Length": str(length)})


def _form(endpoint: Endpoint, request: dict[str, Any], boundary: str) -> list[bytes | dict[str, str]]:
    """Return the body as a multipart form (RFC 7578), in parts; a dict stands for the content of a local picture."""
    field = FIELD[endpoint]
    parts: list[bytes | dict[str, str]] = []
    for name, value in request.items():
        pictures = (value if isinstance(value, list) else [value]) if name == field else []
        for number, picture in enumerate(pictures):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{number}"\r\n'
            parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
            parts.append(picture if isinstance(picture, dict) else pybase64.b64decode(base64_of(picture)))
            parts.append(b"\r\n")
        if name != field:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_name(endpoint, name)}"\r\n\r\n'
            parts.append(f"{head}{text}\r\n".encode())
    return [*parts, f"--{boundary}--\r\n".encode()]


def _parts(endpoint: Endpoint, request: dict[str, Any]) -> list[bytes | dict[str, str]]:
    """Return the body as JSON, in parts; a dict stands for the base64 of a local picture."""
    field = FIELD[endpoint]
    pictures = request.get(field)
    rest = {_name(endpoint, name): value for name, value in request.items() if name != field}
    if endpoint is Endpoint.BACKGROUND_REMOVE and isinstance(pictures, str) and _is_url(pictures):
        return [orjson.dumps({"image_url": pictures})]
    if pictures is None:
        return [orjson.dumps(rest)]
    head = orjson.dumps(rest)[:-1] + (b',"' if rest else b'"') + field.encode() + b'":'
    if not isinstance(pictures, list):
        return [head, *_picture(pictures), b"}"]
    parts: list[bytes | dict[str, str]] = [head + b"["]
    for number, picture in enumerate(pictures):
        parts += [b","] if number else []
        parts += _picture(picture)
    return [*parts, b"]}"]


def _name(endpoint: Endpoint, name: str) -> str:
    # The only endpoint that still uses the model field's old name.
    return "modelId" if endpoint is Endpoint.MULTI_EDIT and name == "model" else name


def _picture(picture: str | dict[str, str]) -> list[bytes | dict[str, str]]:
    if isinstance(picture, dict):
        return [b'"', picture, b'"']
    # Not every endpoint is documented to accept data URLs; all accept base64.
    return [orjson.dumps(picture if _is_url(picture) else base64_of(picture))]


def _is_url(picture: str) -> bool:
    return picture.startswith(("http://", "https://"))


async def _check(part: bytes | dict[str, str], *, raw: bool) -> bytes | _File:
    if isinstance(part, bytes):
        return part
    return await to_thread.run_sync(_check_file, part["path"], part["sha256"], raw)


def _check_file(path: str, sha256: str, raw: bool) -> _File:
    """Read and hash a file. Raises SourceError if it cannot be read or its hash is not `sha256`."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise SourceError(f"{one_line(path)} cannot be read any more: {error.strerror or error}") from error
    if found != sha256:
        raise _changed(path)
    return _File(path, sha256, size, raw)


async def _stream(parts: list[bytes | _File]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        digest = hashlib.sha256()
        for offset in range(0, part.size_bytes, CHUNK_BYTES):
            piece = await to_thread.run_sync(_piece, part, offset, digest)
            if offset + CHUNK_BYTES >= part.size_bytes and digest.hexdigest() != part.sha256:
                raise _changed(part.path)
            yield piece


def _piece(file: _File, offset: int, digest: hashlib._Hash) -> bytes:
    try:
        with open(file.path, "rb") as opened:
            opened.seek(offset)
            data = opened.read(min(CHUNK_BYTES, file.size_bytes - offset))
    except OSError as error:
        raise SourceError(f"{one_line(file.path)} cannot be read any more: {error.strerror or error}") from error
    digest.update(data)
    return data if file.raw else pybase64.b64encode(data)


def _changed(path: str) -> SourceError:
    return SourceError(f"{one_line(path)} has changed since it was checked; run again to send the new version")
