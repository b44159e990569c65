"""The API key, kept out of whatever is printed."""

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
"""What one character may take when a server writes it in another way."""
_SHORTEST_BASE64 = 8
"""Base64 of less may be part of any word."""
_QUOTES = ("'", '"', "`")
_ASSIGNMENT = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9]*_[A-Z0-9_]*=[^=]")
_PIECE = 8
"""So many of a key's characters in a row are taken out, too: others cut what they tell before this package sees it."""
_PUBLIC = re.compile(r"(?:[A-Za-z]+[-_])*")
"""The words that all keys of a kind begin with (`VENICE-INFERENCE-KEY-`) tell nothing, and some stand in messages."""


class ApiKey:
    """A key that shows itself only to `header`; its `str` and `repr` are stars."""

    __slots__ = ("_bytes", "_longest", "_pieces", "_text", "_value")

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value:
            raise KeyMissingError(f"the API key is empty; set {VARIABLE} or give --api-key-file")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise UsageError("the API key holds characters that no key has; is the right file or variable given?")
        self._value = value
        forms = _forms(value)
        # Media types arrive in lower case, whatever was sent.
        case = re.IGNORECASE if self.is_long else re.NOFLAG
        self._text = re.compile(forms, case)
        self._bytes = re.compile(forms.encode(), case)
        self._longest = len(value) * _LONGEST_CHAR
        self._pieces = _pieces(value.lower())

    @property
    def is_long(self) -> bool:
        """Whether it can be told from other words: local servers are given a key like `none`, which is no secret."""
        return len(self._value) >= _PIECE

    def header(self) -> str:
        """The Authorization header's value (RFC 6750)."""
        return f"Bearer {self._value}"

    def redact(self, text: str) -> str:
        """`text` without the key, should a server send it back, escaped as in JSON, URLs or HTML, or in base64.

        Call it before anything is cut. What others have cut already loses all pieces of the key of `_PIECE` characters.
        """
        return _without(self._pieces, self._text.sub("***", text))

    def redact_bytes(self, body: bytes, *, whole: bool = True) -> bytes:
        """`body` without the key; without an end that may be the beginning of it, unless `body` is `whole`."""
        redacted = self._bytes.sub(b"***", body)
        return redacted if whole else redacted[: max(0, len(redacted) - self._longest)]

    def __repr__(self) -> str:
        return "ApiKey(***)"


def _pieces(key: str) -> tuple[str, ...]:
    public = _PUBLIC.match(key)
    told = public.end() if public else 0
    return tuple(key[at : at + _PIECE] for at in range(len(key) - _PIECE + 1) if at + _PIECE > told)


def _without(pieces: tuple[str, ...], text: str) -> str:
    """`text` with each run of characters that belong to `pieces`, in any case, replaced by stars."""
    # Of ASCII only: other letters may become two.
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
    """A regular expression for `key` as it is and as it may be written elsewhere."""
    chars = "".join(
        # Bounded repeats: no body takes long to search.
        f"(?:{re.escape(char)}|%(?:25){{0,3}}(?i:{ord(char):02x})|&#(?:0{{0,4}}{ord(char)}|(?i:x0{{0,4}}{ord(char):x}));"
        rf"|\\{{1,4}}(?i:u00{ord(char):02x}))"
        for char in key
    )
    # Base64 depends on where in a group of three bytes the key begins; what it shares with its neighbours is left.
    encoded = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        encoded.append(re.escape(text[(before * 8 + 5) // 6 : (before + len(key)) * 8 // 6]))
    urlsafe = [form.replace(r"\+", r"[+\-]").replace("/", "[/_]") for form in encoded]
    return "|".join((chars, *(form for form in urlsafe if len(form) >= _SHORTEST_BASE64)))


def without_userinfo(address: str) -> str:
    """`address` with stars for a name and a password in it, also where it is none that could be used."""
    scheme, slashes, rest = address.partition("://") if "://" in address else ("", "", address)
    _, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}***@{host}" if at else address


def _read(path: Path) -> bytes:
    """What is in a key's file, without waiting for a pipe or reading what has no end."""
    file = portable.open_file(path, os.O_RDONLY, follow=True)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is no plain file")
        text = opened.read(_LONGEST_FILE_BYTES + 1)
    if len(text) > _LONGEST_FILE_BYTES:
        raise OSError(errno.EFBIG, f"more than {_LONGEST_FILE_BYTES // 1024} KB, which no key is")
    return text


def find_key(file: Path | None, environment: Mapping[str, str] | None = None) -> ApiKey:
    """The key from `file`, else from the environment.

    Raises:
        KeyMissingError: there is none.
        UsageError: the file cannot be read, or holds something else.
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
    """Return the key that `text` is, or sets as a shell or a `.env` file would: `export VENICE_API_KEY="…"`.

    Raises:
        UsageError: it has one quotation mark, or sets another name.
    """
    text = re.sub(rf"\A(?:export\s+)?{VARIABLE}\s*=", "", text.strip()).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        raise UsageError("the API key has a quotation mark at one end; give the key alone")
    if _ASSIGNMENT.match(text):
        raise UsageError(f"the API key reads like NAME=VALUE; give the value alone, or as {VARIABLE}=…")
    return text
