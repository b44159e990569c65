"""Decode base64 text that arrives in portions, as it stands in a JSON string."""

from __future__ import annotations

import re

import pybase64

from venice_batch.errors import BodyError

_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4}))?")
_ESCAPED = ((b"\\/", b"/"), (b"\\n", b" "), (b"\\r", b" "), (b"\\t", b" "))


class Base64Stream:
    """Turns base64 text, cut into any portions, into bytes. Spaces are skipped; other characters are errors.

    `size` counts the bytes decoded so far; at most `max_bytes` are allowed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._carry = b""
        self._ended = False
        self._skipped = 0
        self.size = 0

    def feed(self, text: bytes) -> bytes:
        """Return the bytes that `text` completes.

        Raises:
            BodyError: the text is not base64, or decodes to more than the maximum.
        """
        if b" " in text:
            length = len(text)
            text = text.replace(b" ", b"")
            self._skipped += length - len(text)
            if self._skipped > self._max:  # a body of nothing but spaces would never end
                raise BodyError("an image is mostly white space")
        return b"".join(self.feed_dense(memoryview(text)))

    def feed_dense(self, text: memoryview) -> list[bytes]:
        """Return, in parts, the bytes that `text` without any spaces completes; the text is decoded without a copy.

        Raises:
            BodyError: the text is not base64 (a space is not, either), or decodes to more than the maximum. The stream
                is then as before, so the same text can be passed to `feed`.
        """
        before = self._carry, self._ended, self.size
        try:
            return self._decode_groups(text)
        except BodyError:
            self._carry, self._ended, self.size = before
            raise

    def _decode_groups(self, text: memoryview) -> list[bytes]:
        parts: list[bytes] = []
        if self._carry:
            missing = 4 - len(self._carry)
            text, first = text[missing:], self._carry + text[:missing]
            if len(first) < 4:
                return self._carry_over(first, parts)
            parts.append(self._decode(first))
        whole = len(text) & ~3
        if whole:
            parts.append(self._decode(text[:whole]))
        return self._carry_over(bytes(text[whole:]), parts)

    def _carry_over(self, rest: bytes, parts: list[bytes]) -> list[bytes]:
        if b"\\" in rest or b" " in rest:
            raise BodyError("not base64")  # raised now, while `feed` can still be given the whole text
        self._carry = rest
        return parts

    def _decode(self, text: bytes | memoryview) -> bytes:
        if self._ended:
            raise BodyError("base64 goes on after its padding")
        try:
            data: bytes = pybase64.b64decode(text, validate=True)
        except ValueError as error:
            raise BodyError("not base64") from error
        self._ended = text[-1] == ord("=")
        self.size += len(data)
        if self.size > self._max:
            raise BodyError(too_large(self._max))
        return data

    def close(self) -> None:
        """Check that the text was complete.

        Raises:
            BodyError: it was cut short, or empty.
        """
        if self._carry:
            raise BodyError("base64 is cut short")
        if not self.size:
            raise BodyError("an image is empty")


def too_large(limit: int) -> str:
    """Return the message for an image over `limit` bytes."""
    return f"an image is over {limit} bytes; if that is intended, raise --max-image-bytes"


def split_cut_escape(text: bytes) -> tuple[bytes, bytes]:
    """Split `text` before an escape sequence that its end cuts; the second part is b"" if it cuts none."""
    at = text.rfind(b"\\")
    length = 6 if text[at + 1 : at + 2] == b"u" else 2
    return (text, b"") if at + length <= len(text) else (text[:at], text[at:])


def without_escapes(text: bytes) -> bytes:
    """Return an image's `text` without JSON's escapes; all white space becomes spaces. Raises BodyError."""
    if b"\\\\" in text:
        raise BodyError("not base64")
    for escape, char in _ESCAPED:
        text = text.replace(escape, char)
    return _ESCAPE.sub(_escaped_char, text)


def _escaped_char(escape: re.Match[bytes]) -> bytes:
    char = chr(int(escape[1], 16)) if escape[1] else "\\"
    if char in "\t\n\r":
        return b" "
    if not char.isascii() or not char.isprintable() or char == "\\":
        raise BodyError("not base64")
    return char.encode()
