"""The API key, kept out of whatever is printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from venice_batch.errors import KeyMissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "VENICE_API_KEY"


class ApiKey:
    """A key that shows itself only to `header`; its `str` and `repr` are stars."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value:
            raise KeyMissingError(f"the API key is empty; set {VARIABLE} or give --api-key-file")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise UsageError("the API key holds characters that no key has; is the right file or variable given?")
        self._value = value

    def header(self) -> str:
        """The Authorization header's value (RFC 6750)."""
        return f"Bearer {self._value}"

    def redact(self, text: str) -> str:
        """`text` without the key, should a server send it back."""
        return text.replace(self._value, "***")

    def redact_bytes(self, body: bytes) -> bytes:
        """`body` without the key."""
        return body.replace(self._value.encode(), b"***")

    def __repr__(self) -> str:
        return "ApiKey(***)"


def find_key(file: Path | None, environment: Mapping[str, str] | None = None) -> ApiKey:
    """The key from `file`, else from the environment.

    Raises:
        KeyMissingError: there is none.
        UsageError: the file cannot be read, or holds something else.
    """
    if file is not None:
        try:
            return ApiKey(file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise UsageError(f"{file}: cannot read the API key: {reason}") from None
    value = (os.environ if environment is None else environment).get(VARIABLE, "")
    if not value.strip():
        raise KeyMissingError(
            f"no API key: set {VARIABLE} or give --api-key-file FILE (or try it without one: --sandbox)"
        )
    return ApiKey(value)
