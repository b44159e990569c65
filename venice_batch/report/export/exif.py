"""The user's comment in EXIF, where A1111 keeps an image's settings in JPEG and WebP.

Sources: TIFF 6.0, CIPA DC-008 (Exif 2.32), and A1111's own files, whose comments are UTF-16 in big-endian order.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from venice_batch.errors import EmbedError

Order = Literal["little", "big"]

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"
_CODE_BYTES = 8
_ENTRY_BYTES = 12
_MOST_ENTRIES = 1000


class _Directory(NamedTuple):
    """A directory of tags (IFD): its entries as they are, by tag, and what follows them."""

    entries: dict[int, bytes]
    following: bytes


def comment(tiff: bytes) -> str | None:
    """Return the user's comment; None if there is none, or the structure is damaged."""
    found = _order(tiff)
    if found is None:
        return None
    first = _directory(tiff, int.from_bytes(tiff[4:8], found), found)
    place = None if first is None else first.entries.get(_EXIF_IFD)
    inner = None if place is None else _directory(tiff, int.from_bytes(place[8:12], found), found)
    entry = None if inner is None else inner.entries.get(_USER_COMMENT)
    if entry is None:
        return None
    size, at = int.from_bytes(entry[4:8], found), int.from_bytes(entry[8:12], found)
    if size <= _CODE_BYTES or at + size > len(tiff):
        return None
    return _text(tiff[at : at + _CODE_BYTES], tiff[at + _CODE_BYTES : at + size], found)


def with_comment(tiff: bytes, text: str) -> bytes:
    """Return EXIF with this comment; all other tags of `tiff`, which may be empty, stay where they are.

    Raises:
        EmbedError: `tiff` is damaged.
    """
    data = tiff or b"MM\0*\0\0\0\x08" + bytes(6)
    order = _order(data)
    first = None if order is None else _directory(data, int.from_bytes(data[4:8], order), order)
    if order is None or first is None:
        raise EmbedError("its EXIF is damaged")
    place = first.entries.get(_EXIF_IFD)
    inner = _Directory({}, bytes(4)) if place is None else _directory(data, int.from_bytes(place[8:12], order), order)
    if inner is None:
        raise EmbedError("its EXIF is damaged")
    # Tags hold places in the whole structure, those of camera makers too. So everything stays where it is, and what
    # is new stands behind it.
    data = _even(data)
    value = _UNICODE + text.encode("utf-16-be", "replace")
    at, data = len(data), _even(data + value)
    entry = _entry(_USER_COMMENT, _UNDEFINED, len(value), at, order)
    at, data = len(data), data + _encoded(inner, {_USER_COMMENT: entry}, order)
    pointer = _entry(_EXIF_IFD, _LONG, 1, at, order)
    at, data = len(data), data + _encoded(first, {_EXIF_IFD: pointer}, order)
    return data[:4] + at.to_bytes(4, order) + data[8:]


def _order(tiff: bytes) -> Order | None:
    return {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])  # type: ignore[return-value]


def _directory(tiff: bytes, at: int, order: Order) -> _Directory | None:
    count = int.from_bytes(tiff[at : at + 2], order)
    end = at + 2 + count * _ENTRY_BYTES
    if at < 8 or count > _MOST_ENTRIES or end > len(tiff):
        return None
    starts = range(at + 2, end, _ENTRY_BYTES)
    entries = {int.from_bytes(tiff[start : start + 2], order): tiff[start : start + _ENTRY_BYTES] for start in starts}
    return _Directory(entries, tiff[end : end + 4].ljust(4, b"\0"))


def _encoded(directory: _Directory, changed: dict[int, bytes], order: Order) -> bytes:
    entries = directory.entries | changed
    body = b"".join(entries[tag] for tag in sorted(entries))
    return len(entries).to_bytes(2, order) + body + directory.following


def _entry(tag: int, kind: int, count: int, value: int, order: Order) -> bytes:
    return tag.to_bytes(2, order) + kind.to_bytes(2, order) + count.to_bytes(4, order) + value.to_bytes(4, order)


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _text(code: bytes, data: bytes, order: Order) -> str:
    """Return a comment's text. Writers disagree on the order of UTF-16, so plain letters decide it."""
    if code == _UNICODE:
        high, low = data[::2].count(0), data[1::2].count(0)
        is_big = order == "big" if high == low else high > low
        text = data.decode("utf-16-be" if is_big else "utf-16-le", "replace")
    else:
        text = data.decode("ascii" if code == _ASCII else "utf-8", "replace")
    return text.rstrip("\0 ")
