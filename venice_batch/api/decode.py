"""Decode a response body into image bytes while it arrives, in chunks of any size.

An image of ten megabytes arrives as fourteen megabytes of base64 inside a JSON string, and no JSON parser yields a
string in pieces. So this module follows the document's structure itself. It decodes the strings at the documented
places of images (`images[]`, `data[].b64_json`, `data[].url`) as they arrive. It keeps the rest of the document, up to
a maximum, with a placeholder for each image, and has orjson parse that at the end. It therefore accepts exactly the
documents that orjson accepts.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any, Protocol

import msgspec
import orjson

from venice_batch.api.base64_stream import Base64Stream, split_cut_escape, too_large, without_escapes
from venice_batch.errors import BodyError
from venice_batch.image_format import format_of, is_text

MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_REST_BYTES = 4 * 1024 * 1024
"""Maximum for everything in a body besides its images; the API echoes the request, style references included."""
MAX_IMAGES = 64
_IN_IMAGES = [ord("{"), ord("[")]
_IN_ITEM = [ord("{"), ord("["), ord("{")]
_ITEM_FIELDS = ("b64_json", "url")
_MAX_PREFIX_BYTES = 256
_MAX_DEPTH = 1024
"""orjson's own maximum: it would refuse a deeper document at the end."""

END_BYTES = 2048
"""What follows an image is usually no longer than this."""

_STRUCTURE = re.compile(rb"[{}\[\],:]")
_STRING_STOP = re.compile(rb'["\\]')
_ITEM_START = re.compile(rb'(?:[^"\\]|\\u[\s\S]{4}|\\[^u]){5}|(?:[^"\\]|\\u[\s\S]{4}|\\[^u]){0,4}"')
"""The first five characters of a text in any JSON spelling, or all of a shorter one."""
_NOT_AN_IMAGE = "-"
"""Put before a text that stands in an image's place but is not one, so that it never looks like a placeholder."""
_DATA_URL = re.compile(rb"data:[\w.+/-]*(?:;[\w.=+-]+)*;base64\Z", re.IGNORECASE)
_NOT_DENSE = (b"\\", b" ", b'"')


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Consecutive bytes of image number `image`; `last` marks the image as complete."""

    image: int
    data: bytes
    last: bool = False


class BodyDecoder(Protocol):
    """Turns one response body into pieces of its images. After a BodyError it must not be used again."""

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return the pieces that `chunk` completes, in order.

        Raises:
            BodyError: the body is not an image, or larger than allowed.
        """
        ...

    def close(self) -> tuple[list[Piece], dict[str, Any]]:
        """Return the last pieces, and the document without its images ({} for a binary body).

        Raises:
            BodyError: the body ended too early, or contains no image.
        """
        ...


class BinaryDecoder:
    """Passes on a body that is itself the image."""

    def __init__(self, max_image_bytes: int = MAX_IMAGE_BYTES) -> None:
        self._max = max_image_bytes
        self._size = 0

    def feed(self, chunk: bytes) -> list[Piece]:
        self._size += len(chunk)
        if self._size > self._max:
            raise BodyError(too_large(self._max))
        return [Piece(0, chunk)] if chunk else []

    def close(self) -> tuple[list[Piece], dict[str, Any]]:
        if not self._size:
            raise BodyError("the body is empty")
        return [Piece(0, b"", last=True)], {}


def decoder_for(start: bytes, media_type: str, max_image_bytes: int = MAX_IMAGE_BYTES) -> BodyDecoder | None:
    """Return the decoder for a body that begins with `start`, its first `START_BYTES` or all of it; None for text.

    The bytes decide. The server's `media_type` counts only where they could be anything.
    """
    if format_of(start) is None:
        is_object = start.removeprefix(BOM_UTF8).lstrip().startswith(b"{")
        if is_object or (media_type.endswith("json") and is_text(start)):
            return JsonDecoder(max_image_bytes)
        is_called_text = media_type.startswith("text/")
        if (start or is_called_text) and is_text(start, encoded=not is_called_text):
            return None
    return BinaryDecoder(max_image_bytes)


class JsonDecoder:
    """Decodes the images in either of the API's JSON documents as they arrive.

    A scanner walks through the text in three states: outside of strings, where it tracks open brackets and keys; inside
    an ordinary string, which it keeps; and inside an image's string, which it decodes. Memory holds a chunk and at most
    `max_rest_bytes` besides the images. Only documents that orjson parses are accepted, with images at the documented
    places only.
    """

    def __init__(self, max_image_bytes: int = MAX_IMAGE_BYTES, max_rest_bytes: int = MAX_REST_BYTES) -> None:
        self._max_image = max_image_bytes
        self._max_rest = max_rest_bytes
        self._rest = bytearray()
        self._stack: list[int] = []  # the open brackets
        self._keys: list[str] = []  # the key last read at each of them, "" in arrays
        self._is_key = False
        self._images = 0
        self._pieces: list[Piece] = []
        self._tail = b""  # an escape sequence cut by the end of the last chunk
        self._scan = self._scan_outside
        self._key_start = 0
        self._stream: Base64Stream | None = None
        self._prefix: bytearray | None = None

    def feed(self, chunk: bytes) -> list[Piece]:
        data = self._tail + chunk if self._tail else chunk
        self._tail = b""
        position, end = 0, len(data)
        while position < end:
            position = self._scan(data, position)
        pieces, self._pieces = self._pieces, []
        return pieces

    def close(self) -> tuple[list[Piece], dict[str, Any]]:
        if self._stream is not None or self._stack or self._tail or not self._rest.strip():
            raise BodyError("the body is cut short" if self._rest.strip() else "the body is empty")
        try:
            document = orjson.loads(self._rest.removeprefix(BOM_UTF8))  # RFC 8259, 8.1: a reader may ignore the BOM
        except orjson.JSONDecodeError as error:
            raise BodyError("the body is not valid JSON") from error
        if not isinstance(document, dict):
            raise BodyError("the body is not a JSON object")
        found = _texts(document)
        beside = [text for text in found if isinstance(text, str) and text.startswith(_NOT_AN_IMAGE)]
        found = [text for text in found if text not in beside]
        if not found:
            raise BodyError(_why_none(document, beside))
        if found != [str(number) for number in range(self._images)]:
            raise BodyError("the answer's images are not all strings")
        return [], {key: value for key, value in document.items() if key not in ("images", "data")}

    def _scan_outside(self, data: bytes, position: int) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        between = data[position:end]
        self._keep(between)
        for match in _STRUCTURE.finditer(between):
            self._structure(between[match.start()])
        if quote < 0:
            return end
        self._keep(b'"')
        if self._is_key:
            self._key_start = len(self._rest)
        elif self._stack == _IN_IMAGES and self._keys[0] == "images":
            self._begin_image()
            return end + 1
        elif self._stack == _IN_ITEM and self._keys[0] == "data" and self._keys[2] in _ITEM_FIELDS:
            self._scan = self._scan_item
            return end + 1
        self._scan = self._scan_string
        return end + 1

    def _begin_image(self) -> None:
        if self._images >= MAX_IMAGES:
            raise BodyError(f"the answer holds over {MAX_IMAGES} images")
        self._stream = Base64Stream(self._max_image)
        self._prefix = bytearray()
        self._scan = self._scan_image

    def _structure(self, char: int) -> None:
        if char in b"{[":
            if len(self._stack) >= _MAX_DEPTH:
                raise BodyError("the body is nested too deeply")
            self._stack.append(char)
            self._keys.append("")
            self._is_key = char == ord("{")
        elif char in b"}]":
            if not self._stack:
                raise BodyError("the body is not valid JSON")
            self._stack.pop()
            self._keys.pop()
            self._is_key = False
        elif char == ord(","):
            self._is_key = bool(self._stack) and self._stack[-1] == ord("{")
        else:
            self._is_key = False

    def _scan_item(self, data: bytes, position: int) -> int:
        """Decide by its start whether an item's text is the image; it may be empty, or a link, beside the image."""
        match = _ITEM_START.match(data, position)
        if match is None:
            self._tail = data[position:]
            return len(data)
        is_url = self._keys[2] == "url"
        if match[0] == b'"' or (is_url and _text(match[0].removesuffix(b'"')).lower() != "data:"):
            self._keep(_NOT_AN_IMAGE.encode())
            self._scan = self._scan_string
        else:
            self._begin_image()
        return position

    def _scan_string(self, data: bytes, position: int) -> int:
        match = _STRING_STOP.search(data, position)
        if match is None:
            self._keep(data[position:])
            return len(data)
        stop = match.start()
        if data[stop] == ord("\\"):
            if stop + 1 == len(data):
                self._keep(data[position:stop])
                self._tail = b"\\"
                return len(data)
            self._keep(data[position : stop + 2])
            return stop + 2
        self._keep(data[position : stop + 1])
        if self._is_key:
            self._keys[-1] = _text(bytes(self._rest[self._key_start : -1]))
        self._scan = self._scan_outside
        return stop + 1

    def _scan_image(self, data: bytes, position: int) -> int:
        # Searching all of the text for its end costs half as much as decoding it, and decoding finds the end as well.
        may_end = data.find(b'"', max(position, len(data) - END_BYTES)) >= 0
        if not may_end and self._take_dense(data, position, len(data)):
            return len(data)
        # No escape that base64 can hold contains a quote, so the first one ends the text.
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        if not self._take_dense(data, position, end):
            text = data[position:end]
            if b"\\" in text:
                if quote < 0:
                    text, self._tail = split_cut_escape(text)
                text = without_escapes(text)
            self._image_text(text)
        if quote < 0:
            return end
        self._end_image()
        return end + 1

    def _take_dense(self, data: bytes, position: int, end: int) -> bool:
        """Try to decode the text from `position` to `end` as pure base64, as it nearly always is.

        Return False, having decoded nothing, if it contains characters that JSON allows besides base64.
        """
        if self._prefix is not None and not self._prefix:
            start = data[position : min(end, position + 5)]
            if len(start) == 5 and start.lower() != b"data:" and b"\\" not in start:
                self._prefix = None  # no data URL
        if self._prefix is not None or self._stream is None:
            return False
        try:
            parts = self._stream.feed_dense(memoryview(data)[position:end])
        except BodyError:
            if any(data.find(other, position, end) >= 0 for other in _NOT_DENSE):
                return False
            raise
        self._pieces += [Piece(self._images, part) for part in parts]
        return True

    def _image_text(self, text: bytes) -> None:
        assert self._stream is not None  # noqa: S101  (set before this state is entered)
        if self._prefix is not None:
            self._prefix += text
            if b"," not in self._prefix and len(self._prefix) < _MAX_PREFIX_BYTES:
                return  # too early to see whether this is a data URL
            text = self._without_prefix()
        data = self._stream.feed(text)
        if data:
            self._pieces.append(Piece(self._images, data))

    def _without_prefix(self) -> bytes:
        text, self._prefix = bytes(self._prefix or b""), None
        if text[:5].lower() == b"data:":
            comma = text.find(b",", 0, _MAX_PREFIX_BYTES)  # the same result for any chunks
            if comma < 0 or not _DATA_URL.match(text[:comma]):
                raise BodyError("an image's data URL is not base64")
            return text[comma + 1 :]
        return text

    def _end_image(self) -> None:
        assert self._stream is not None  # noqa: S101  (set before this state is entered)
        if self._prefix is not None:
            data = self._stream.feed(self._without_prefix())
            if data:
                self._pieces.append(Piece(self._images, data))
        self._stream.close()
        self._pieces.append(Piece(self._images, b"", last=True))
        self._keep(b'%d"' % self._images)
        self._images += 1
        self._stream = None
        self._scan = self._scan_outside

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > self._max_rest:
            raise BodyError(f"the answer holds over {self._max_rest} bytes besides its images")


def _text(raw: bytes) -> str:
    try:
        text = orjson.loads(b'"%s"' % raw)
    except orjson.JSONDecodeError:
        return ""  # the whole document will be refused when it is parsed
    return str(text)


def _texts(document: dict[str, Any]) -> list[Any]:
    """Return the values at the documented places of images, in the document's order."""
    found: list[Any] = []
    for name, value in document.items():
        if name == "images" and isinstance(value, list):
            found += value
        elif name == "data" and isinstance(value, list):
            for item in value:
                found += _of_item(item) if isinstance(item, dict) else [item]
    return found


def _of_item(item: dict[str, Any]) -> list[Any]:
    return [value for name, value in item.items() if name in _ITEM_FIELDS and value is not None]


def _why_none(document: dict[str, Any], beside: list[str]) -> str:
    """Return why `document` contains no image, at full length: the caller redacts it before shortening it."""
    if any(text != _NOT_AN_IMAGE for text in beside):
        return "the answer links to an image elsewhere; ask for response_format b64_json"
    if beside:
        return "an image is empty"
    said = document.get("error")
    said = said.get("message") if isinstance(said, dict) else said
    return f"the answer holds no image: {said}" if isinstance(said, str) else "the answer contains no image"
