"""What a file holds, by its first bytes, and what to do with one that cannot be a jobs file."""

from __future__ import annotations

from typing import Literal

Compression = Literal["gzip", "zstd"]

_BINARY = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; save a spreadsheet as .csv"),
    (b"BZh", "a bzip2 archive; {packed}"),
    (b"\xfd7zXZ", "an xz archive; {packed}"),
    (b"7z\xbc\xaf", "a 7-Zip archive; {packed}"),
    (b"FEA1", "a Feather table of the first version; write it again as .parquet or .csv"),
    (b"PARE", "an encrypted Parquet table"),
    (b"SQLite format 3", "an SQLite database"),
)


def compression(head: bytes) -> Compression | None:
    """Return how a file that begins with `head` is packed, whatever its name."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A Zstandard file may begin with a skippable frame (RFC 8878, 3.1.2).
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return None


def not_text(head: bytes, *, packed: str = "gzip and zstd can be read") -> str | None:
    """Return why a file that begins with `head` cannot be a jobs file, or None if it may be one.

    `packed` is what to do with an archive.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _alternates(head):
        return "is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "is not text: looks like a WebP image"
    for magic, kind in _BINARY:
        if head.startswith(magic):
            return f"is not text: looks like {kind.format(packed=packed)}"
    if inner := compression(head):
        return f"is packed twice; unpack the inner {inner} file first"
    if b"\0" in head:
        return "is not text: holds NUL bytes"
    return None


def json_hint(start: bytes) -> str | None:
    """Return why text that begins with `start` is JSON but not JSON lines, or None if it may be lines."""
    first_line, end, _ = start.partition(b"\n")
    if first_line.strip() == b"{" and end:
        return "holds JSON spread over several lines; expected one object a line: jq -c . jobs.json > jobs.jsonl"
    return None


def table_hint(start: bytes) -> str | None:
    """Return what to do with text that begins with the header of a table; None for other text."""
    first_line = start.partition(b"\n")[0]
    for delimiter, suffix in ((b",", ".csv"), (b";", ".csv"), (b"\t", ".tsv")):
        if b"prompt" in (cell.strip(b' "\r').lower() for cell in first_line.split(delimiter)):
            return (
                f"looks like a table; a table is recognised by its file name: save it as a file that ends in {suffix}"
            )
    return None


Columns = Literal["Parquet", "Arrow", "Arrow stream"]


def columns(head: bytes) -> Columns | None:
    """Return the format of a file of columns that begins with `head`; None for any other file."""
    if head.startswith(b"PAR1"):
        return "Parquet"
    if head.startswith(b"ARROW1\0\0"):
        return "Arrow"
    # Record batches without a footer, as the `datasets` library keeps them.
    return "Arrow stream" if head.startswith(b"\xff\xff\xff\xff") else None


def _alternates(head: bytes) -> bool:
    """Return whether every other byte is NUL, as in UTF-16 without a byte order mark."""
    pairs = head[: len(head) & ~1]
    return len(pairs) >= 4 and (not any(pairs[1::2]) or not any(pairs[::2])) and any(pairs)
