"""Open a jobs file in any format as a seekable file of JSON lines.

Plain files are read where they are. Standard input, pipes, `.gz`, `.zst` and tables are first copied to an unnamed
temporary file: a run reads its jobs again when their turn comes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from venice_batch.errors import JobsFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from venice_batch.jobfile.mapping import FieldMap, LineMap


HEAD_BYTES = 4096
"""Bytes of a file that are examined."""

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
    """Return how a file that begins with `head` is packed, whatever its name."""
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
    # An array that ends on its own line is a mistake of that line, unless the name promises an array.
    if start.startswith(b"[") and (suffix == ".json" or not first_line.endswith(b"]")):
        return "holds one JSON array; expected one object a line: jq -c '.[]' jobs.json > jobs.jsonl"
    if first_line == b"{" and end:
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


def _alternates(head: bytes) -> bool:
    """Return whether every other byte is NUL, as in UTF-16 without a byte order mark."""
    pairs = head[: len(head) & ~1]
    return len(pairs) >= 4 and (not any(pairs[1::2]) or not any(pairs[::2])) and any(pairs)


STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class Source:
    """An open jobs file: `name` for messages, and `file`, seekable, with JSON lines in it.

    `stamp` is the file's size and modification time (ns) when it was opened. Relative paths in its lines start at
    `folder`: the file's own, or the current one ("") for standard input and pipes. `suspects` maps metadata keys that
    may be mistyped fields, such as a table's columns, to a message about each. `has_ids`: its lines may give ids, as
    those of a text and of a table without such a column do not. `copies[n]` counts the lines equal to line `n` up to
    it where the file's kind allows equal lines; 0, or no entry, for the only one. `notices` are sentences about it.
    `mapping` makes its lines native ones.
    """

    name: str
    file: BinaryIO
    stamp: tuple[int, int]
    folder: str = ""
    suspects: Mapping[str, str] = field(default_factory=dict)
    has_ids: bool = True
    copies: Sequence[int] = ()
    notices: tuple[str, ...] = ()
    mapping: LineMap | None = None

    def copy_of(self, number: int) -> int:
        """Return which of several equal lines the line `number` is, from 1."""
        return (self.copies[number] or 1) if number < len(self.copies) else 1

    def unchanged(self) -> bool:
        """Return whether the file has kept its size and modification time since it was opened, or has only grown.

        Lines added meanwhile belong to no job of this run. Whether the lines before them changed shows in the jobs.
        """
        size, changed_ns = _stamp(self.file)
        return changed_ns == self.stamp[1] if size == self.stamp[0] else size > self.stamp[0]


@contextmanager
def open_source(
    path: str | os.PathLike[str], stdin: BinaryIO | None = None, field_map: FieldMap | None = None
) -> Iterator[Source]:
    """Open the jobs file `path`, or `stdin` if `path` is "-"; close the source at the end of the block.

    Its columns become fields by `field_map`.

    Raises:
        JobsFileError: it cannot be read, is not a jobs file, or lacks columns of the map: problems of the whole file.
        FolderError: a temporary copy is needed and there is no room for it.
    """
    name = os.fspath(path)
    with ExitStack() as stack:
        if name == "-":
            if stdin is None:
                raise refusal(STDIN, "nothing is connected to standard input")
            name, file, plain = STDIN, stdin, False
        else:
            file = stack.enter_context(_open(name))
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        try:
            file, extras = _as_lines(name, file, plain, stack, field_map)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # from writing the copy: reading takes no room
                from venice_batch.jobfile.reading import no_room

                raise no_room(error) from error
            raise refusal(name, f"cannot be read: {error.strerror or error}") from error
        yield Source(name, file, _stamp(file), os.path.dirname(name) if plain else "", **extras)


def refusal(name: str, what: str) -> JobsFileError:
    """Return the error for a problem of the file as a whole."""
    return JobsFileError([Problem(name, 0, "", what)])


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except FileNotFoundError:
        raise refusal(name, f"no such file{_nearest_file(Path(name))}") from None
    except IsADirectoryError:
        raise refusal(name, "is a folder; expected a file of jobs") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refusal(name, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _as_lines(
    name: str, file: BinaryIO, plain: bool, stack: ExitStack, field_map: FieldMap | None
) -> tuple[BinaryIO, dict[str, Any]]:
    """Return `file`, or a copy of it, as JSON lines, and the fields of its `Source`; `stack` closes the copies."""
    # Imported late: `check jobs.jsonl` loads no decompressor.
    if not plain:
        from venice_batch.jobfile.reading import copied

        file = stack.enter_context(copied(name, file))
    if packed := compression(_head(file)):
        from venice_batch.jobfile.reading import unpacked

        file = stack.enter_context(unpacked(name, file, packed))
    head = _head(file)
    if (what := not_text(head)) is not None:
        raise refusal(name, what)
    start = _first_text(file)
    if not start:
        raise refusal(name, "holds no jobs")
    suffix = _suffix(name)
    if suffix in {".csv", ".tsv", ".txt"}:
        from venice_batch.jobfile.tables import as_lines

        file, found = stack.enter_context(as_lines(name, file, suffix, field_map, _stem(name)))
        extras = {name: getattr(found, name) for name in found.__slots__}
        return file, extras if suffix != ".txt" else _mapped(name, file, field_map, extras)
    start = start.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if (what := json_hint(start, suffix) or table_hint(start)) is not None:
        raise refusal(name, what)
    return file, _mapped(name, file, field_map, {})


def _mapped(name: str, file: BinaryIO, field_map: FieldMap | None, extras: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the `Source` with those that the map gives it; a table's rows are mapped already."""
    if not field_map:
        return extras
    from venice_batch.jobfile.columns import of_lines

    found = of_lines(name, file, field_map, stem=_stem(name), may_have_ids=extras.get("has_ids", True))
    return {**found, **extras, "has_ids": found["has_ids"], "mapping": found["mapping"]}


def _stem(name: str) -> str:
    """Return the file's name without folder and endings."""
    path = Path(name if name != STDIN else "stdin")
    return (path if path.suffix.lower() not in {".gz", ".zst"} else path.with_suffix("")).stem


def _suffix(name: str) -> str:
    """Return the suffix that names the content: ".csv" for `jobs.csv.gz`."""
    path = Path(name)
    return (path if path.suffix.lower() not in {".gz", ".zst"} else path.with_suffix("")).suffix.lower()


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD_BYTES)


def _first_text(file: BinaryIO) -> bytes:
    """Return some bytes, beginning with the first that is not white space; b"" if there are none."""
    block = _head(file).removeprefix(b"\xef\xbb\xbf")
    while block and not block.strip():
        block = file.read(1 << 16)
    return block.lstrip()


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _nearest_file(path: Path) -> str:
    import difflib

    names: list[str] = []
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(path.parent)]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""
