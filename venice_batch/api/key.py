"""Find the API key, and keep it out of everything that is shown or stored."""

from __future__ import annotations

import base64
import errno
import itertools
import os
import re
import stat
from typing import TYPE_CHECKING

from venice_batch import portable
from venice_batch.errors import KeyMissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


VARIABLE = "VENICE_API_KEY"

_LONGEST_FILE_BYTES = 64 * 1024
_LONGEST_CHAR = 12
"""Characters that one character of the key may take when a server escapes it."""
_SHORTEST_BASE64 = 8
"""Shorter base64 could be part of any word."""
_QUOTES = ("'", '"', "`")
_ASSIGNMENT = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9]*_[A-Z0-9_]*=[^=]")
_PIECE = 8
"""This many characters of the key in a row are removed as well: servers may shorten text before it arrives."""
_PUBLIC = re.compile(r"(?:[A-Za-z]+[-_])*")
"""The prefix that all keys of a kind share (`VENICE-INFERENCE-KEY-`): no secret, and some messages contain it."""


class ApiKey:
    """An API key. Only `header` reveals it; `str` and `repr` show stars.

    Raises:
        KeyMissingError: the key is empty.
        UsageError: it contains characters that no key has.
    """

    __slots__ = ("_bytes", "_longest", "_pieces", "_text", "_value")

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value:
            raise KeyMissingError(f"the API key is empty; set {VARIABLE} or give --api-key-file")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise UsageError("the API key contains characters that no key has; is this the right file or variable?")
        self._value = value
        forms = _forms(value)
        # Media types arrive in lower case, whatever was sent.
        case = re.IGNORECASE if self.is_long else re.NOFLAG
        if not self.is_long:
            # A key like `k` is removed as a word of its own only: otherwise "known" would become "***nown".
            forms = rf"(?<!\w)(?:{forms})(?!\w)"
        self._text = re.compile(forms, case)
        self._bytes = re.compile(forms.encode(), case)
        self._longest = len(value) * _LONGEST_CHAR
        self._pieces = _pieces(value.lower())

    @property
    def is_long(self) -> bool:
        """Whether it is too long to be an ordinary word. Local servers get keys like `none`, which are no secret."""
        return len(self._value) >= _PIECE

    def header(self) -> str:
        """Return the Authorization header's value (RFC 6750)."""
        return f"Bearer {self._value}"

    def redact(self, text: str) -> str:
        """Return `text` without the key: as it is, escaped as in JSON, URLs or HTML, or in base64.

        A key shorter than `_PIECE` characters is no real one. It is removed only as a word of its own.

        Call this before cutting the text. In text that others have cut, every piece of the key of at least `_PIECE`
        characters is removed too.
        """
        return _hide(self._pieces, self._text.sub("***", text))

    def redact_bytes(self, body: bytes, *, whole: bool = True) -> bytes:
        """Return `body` without the key; unless it is `whole`, also without an end that may be the key's beginning."""
        redacted = self._bytes.sub(b"***", body)
        return redacted if whole else redacted[: max(0, len(redacted) - self._longest)]

    def __repr__(self) -> str:
        return "ApiKey(***)"


def _pieces(key: str) -> tuple[str, ...]:
    public = _PUBLIC.match(key)
    secret_from = public.end() if public else 0
    return tuple(key[at : at + _PIECE] for at in range(len(key) - _PIECE + 1) if at + _PIECE > secret_from)


def _hide(pieces: tuple[str, ...], text: str) -> str:
    """Return `text` with stars for each run of characters that belong to `pieces`, in any case."""
    # Lower only ASCII: other letters may become two.
    lower = text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    if not any(piece in lower for piece in pieces):
        return text
    hidden = bytearray(len(text))
    for piece in pieces:
        at = lower.find(piece)
        while at >= 0:
            hidden[at : at + _PIECE] = b"\1" * _PIECE
            at = lower.find(piece, at + 1)
    return "".join(
        "***" if is_hidden else "".join(char for char, _ in run)
        for is_hidden, run in itertools.groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    )


def _forms(key: str) -> str:
    """Return a regular expression for `key`, as it is, escaped, or in base64."""
    chars = "".join(
        # Repeats are bounded, so that no body takes long to search.
        f"(?:{re.escape(char)}|%(?:25){{0,3}}(?i:{ord(char):02x})|&#(?:0{{0,4}}{ord(char)}|(?i:x0{{0,4}}{ord(char):x}));"
        rf"|\\{{1,4}}(?i:u00{ord(char):02x}))"
        for char in key
    )
    # Base64 depends on the key's offset within a group of three bytes; characters shared with neighbours stay.
    encoded = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        encoded.append(re.escape(text[(before * 8 + 5) // 6 : (before + len(key)) * 8 // 6]))
    urlsafe = [form.replace(r"\+", r"[+\-]").replace("/", "[/_]") for form in encoded]
    return "|".join((chars, *(form for form in urlsafe if len(form) >= _SHORTEST_BASE64)))


def _read(path: Path) -> bytes:
    """Return the content of a key file; refuse a pipe or a device instead of waiting for it."""
    file = portable.open_file(path, os.O_RDONLY, follow=True)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        text = opened.read(_LONGEST_FILE_BYTES + 1)
    if len(text) > _LONGEST_FILE_BYTES:
        raise OSError(errno.EFBIG, f"more than {_LONGEST_FILE_BYTES // 1024} KB, too large for a key")
    return text


def find_key(file: Path | None, environment: Mapping[str, str] | None = None) -> ApiKey:
    """Return the key from `file`, else from the environment.

    Raises:
        KeyMissingError: neither has a key.
        UsageError: the file cannot be read, or contains something else.
    """
    if file is not None:
        try:
            return ApiKey(_bare(_read(file).decode("utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise UsageError(f"{file}: cannot read the API key: {reason}") from None
    value = (os.environ if environment is None else environment).get(VARIABLE, "")
    if not value.strip():
        raise KeyMissingError(
            f"no API key: set {VARIABLE} or give --api-key-file FILE (or try it without one: --sandbox)"
        )
    return ApiKey(_bare(value))


def _bare(text: str) -> str:
    """Return the key in `text`: alone, or as a shell or a `.env` file sets it (`export VENICE_API_KEY="…"`).

    Raises:
        UsageError: it has a single quotation mark, or sets another variable.
    """
    text = re.sub(rf"\A(?:export\s+)?{VARIABLE}\s*=", "", text.strip()).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        raise UsageError("the API key has a quotation mark at one end; give the key without quotes")
    if _ASSIGNMENT.match(text):
        raise UsageError(f"the API key looks like NAME=VALUE; give the value alone, or {VARIABLE}=…")
    return text
