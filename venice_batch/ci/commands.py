"""Commands that GitHub Actions and Azure Pipelines read in what a step prints: broken up where others have written it.

A job's id, a server's message or a file's name may hold `::stop-commands::x`, `##[group]` or `##vso[task.complete]`.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINE_END = rb"(?:[\n-\r\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9])"
_WIDE = rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8d\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf"
_SPACE = rb"(?:[\s\x1c-\x1f]|" + _WIDE + rb")*"
_BEGUN = re.compile(rb"(" + _LINE_END + _SPACE + rb":)(?=:)|(#)(?=#)")
"""GitHub reads `::` where a line begins, whatever space stands before it, and both read `##` anywhere."""

_QUOTED = re.compile(rb"(?<=#)#")

_OPEN = re.compile(_LINE_END + _SPACE + rb"(:?)\Z")


def is_read(environment: Mapping[str, str]) -> bool:
    """Whether what this process prints is searched for such commands."""
    return environment.get("GITHUB_ACTIONS") == "true" or bool(environment.get("TF_BUILD"))


def broken(data: bytes, before: bytes = b"\n") -> bytes:
    """`data`, UTF-8, with a space in whatever would begin a command; `before` is what was printed ahead of it."""
    return _BEGUN.sub(rb"\1\2 ", before + data)[len(before) :]


def broken_text(text: str, before: bytes = b"\n") -> str:
    """As `broken`, by default for a text that may be printed where a line begins."""
    return broken(text.encode("utf-8", "surrogatepass"), before).decode("utf-8", "surrogatepass")


class Guard(io.BufferedIOBase):
    """Passes on to `stream` what is written, broken up; commands that were cut between two writes too."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._before = b"\n"

    def write(self, data: Any) -> int:  # noqa: ANN401 - anything with bytes in it, as in io.BufferedIOBase
        given = bytes(data)
        self._stream.write(broken(given, self._before))
        all_of_it = self._before + given
        if found := _OPEN.search(all_of_it):
            self._before = b"\n" + found[1]
        else:
            self._before = b"#" if all_of_it.endswith(b"#") else b"."
        return len(given)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


class _Quoting(io.BufferedIOBase):
    """Passes on JSON to `stream`: of `##` the second is written as an escape, which leaves it the same text."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._before = b""

    def write(self, data: Any) -> int:  # noqa: ANN401 - as in Guard
        given = bytes(data)
        self._stream.write(_QUOTED.sub(rb"\\u0023", self._before + given)[len(self._before) :])
        self._before = b"#" if given.endswith(b"#") else b""
        return len(given)

    def flush(self) -> None:
        self._stream.flush()


def quoting(stream: BinaryIO) -> BinaryIO:
    """`stream`, of JSON, such that a guard finds nothing to break in it."""
    return cast("BinaryIO", _Quoting(stream)) if isinstance(stream, Guard) else stream


@contextmanager
def guarded(environment: Mapping[str, str]) -> Iterator[None]:
    """Have standard output and standard error broken up while the block lasts, where they are searched."""
    before = sys.stdout, sys.stderr
    if is_read(environment):
        sys.stdout, sys.stderr = map(_guarded, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unguarded(stream: TextIO) -> TextIO:
    """The stream behind a guarded one, for commands that are meant."""
    own: TextIO = getattr(stream, "unguarded", stream)
    return own


class _GuardedText(io.TextIOWrapper):
    """A guarded stream of text; what is written reaches the stream behind it at once."""

    def __init__(self, stream: TextIO) -> None:
        guard = cast("BinaryIO", Guard(stream.buffer))
        super().__init__(guard, encoding=stream.encoding, errors=stream.errors, write_through=True)
        self.unguarded = stream


def _guarded(stream: TextIO) -> TextIO:
    if getattr(stream, "buffer", None) is None:
        return stream  # closed, or not a stream of bytes
    stream.flush()
    return _GuardedText(stream)
