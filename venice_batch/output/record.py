"""What a resume reads of a manifest's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises at a line that is no record, the last at brackets without end."""


class FileView(msgspec.Struct, frozen=True, gc=False):
    """What a resume needs to know of an image."""

    path: str
    bytes: int
    sha256: str = ""


class RecordView(msgspec.Struct, frozen=True, gc=False):
    """What a resume needs to know of a record; all other fields are passed over unread."""

    id: str
    request_hash: str
    status: str
    files: tuple[FileView, ...] = ()
    sandbox: bool = False


_decode = msgspec.json.Decoder(RecordView).decode


def records(lines: Iterable[bytes], first: int = 1) -> Iterator[tuple[int, RecordView | None]]:
    """Every line's number, counted from `first`, with its record or None where it is none; blank lines only count."""
    for number, line in enumerate(lines, first):
        try:
            yield number, _decode(line)
        except NO_RECORD:
            if line.strip():
                yield number, None
