"""What the first bytes of a file tell about it."""

from __future__ import annotations

from typing import Literal

HEAD_BYTES = 4096
"""How much of a file is looked at."""

Compression = Literal["gzip", "zstd"]

_BINARY = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; save a spreadsheet as .csv"),
    (b"BZh", "a bzip2 archive; gzip and zstd can be read"),
    (b"\xfd7zXZ", "an xz archive; gzip and zstd can be read"),
    (b"7z\xbc\xaf", "a 7-Zip archive; gzip and zstd can be read"),
    (b"PAR1", "a Parquet table; save it as .csv or .jsonl"),
    (b"SQLite format 3", "an SQLite database"),
)


def compression(head: bytes) -> Compression | None:
    """Return how a file that begins with `head` is packed; its name plays no part."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A Zstandard file may begin with a skippable frame (RFC 8878, 3.1.2).
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return None


def not_text(head: bytes) -> str | None:
    """Return why a file that begins with `head` cannot be a jobs file, or None if it may be one."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _alternates(head):
        return "is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "is not text: looks like a WebP image"
    for magic, kind in _BINARY:
        if head.startswith(magic):
            return f"is not text: looks like {kind}"
    if packed := compression(head):
        return f"is packed twice; unpack the inner {packed} file first"
    if b"\0" in head:
        return "is not text: holds NUL bytes"
    return None


def json_hint(start: bytes, suffix: str) -> str | None:
    """Return why text that begins with `start` is JSON but not JSON lines, or None if it may be lines."""
    first_line, end, _ = start.partition(b"\n")
    first_line = first_line.strip()
    # An array that is over on its line is a mistake of that line, unless the name promises one.
    if start.startswith(b"[") and (suffix == ".json" or not first_line.endswith(b"]")):
        return "holds one JSON array; expected one object a line: jq -c '.[]' jobs.json > jobs.jsonl"
    if first_line == b"{" and end:
        return "holds JSON spread over several lines; expected one object a line: jq -c . jobs.json > jobs.jsonl"
    return None


def table_hint(start: bytes) -> str | None:
    """Return what to do with text that begins with `start` if that names the columns of a table, else None."""
    first_line = start.partition(b"\n")[0]
    for delimiter, suffix in ((b",", ".csv"), (b";", ".csv"), (b"\t", ".tsv")):
        if b"prompt" in (cell.strip(b' "\r').lower() for cell in first_line.split(delimiter)):
            return f"looks like a table; tables are told by their names: save it as a file that ends in {suffix}"
    return None


def _alternates(head: bytes) -> bool:
    """Tell whether every other byte is NUL, as in UTF-16 without its mark."""
    pairs = head[: len(head) & ~1]
    return len(pairs) >= 4 and (not any(pairs[1::2]) or not any(pairs[::2])) and any(pairs)
