"""Open a jobs file in any format as a seekable file of JSON lines.

Plain files are read where they are. Standard input, pipes, `.gz`, `.zst` and all other formats are first copied to an
unnamed temporary file: a run reads its jobs again when their turn comes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from venice_batch.errors import JobsFileError, Problem
from venice_batch.jobfile.content import columns, compression, json_hint, not_text, table_hint
from venice_batch.jobfile.rewritten import LINES, Places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from venice_batch.jobfile.mapping import FieldMap, LineMap
    from venice_batch.jobfile.rewritten import Rewritten


HEAD_BYTES = 4096
"""Bytes of a file that are examined."""

STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class Source:
    """An open jobs file: `name` for messages, and `file`, seekable, with JSON lines in it.

    `stamp` is the file's size and modification time (ns) when it was opened. Relative paths in its lines start at
    `folder`: the file's own, or the current one ("") for standard input and pipes. `suspects` maps metadata keys that
    may be mistyped fields, such as a table's columns, to a message about each. `has_ids`: its lines may give ids, as
    those of a text and of a table without such a column do not. `copies[n]` counts the lines equal to line `n` up to
    it where the file's kind allows equal lines; 0, or no entry, for the only one. `notices` are sentences about it.
    `places` says where the jobs of its lines are for a person: in a folder, a table or an array they are elsewhere.
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
    places: Places = LINES
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
    """Open the jobs file `path`, a folder of texts, or `stdin` if `path` is "-"; close it at the end of the block.

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
        elif (opened := _open(name)) is not None:
            file = stack.enter_context(opened)
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        else:
            file, plain = None, True
        try:
            file, extras = _texts(name, stack) if file is None else _as_lines(name, file, plain, stack, field_map)
            if field_map and "mapping" not in extras:
                from venice_batch.jobfile.columns import of_lines

                extras |= of_lines(name, file, field_map, stem=_stem(name), kind=extras)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # from writing the copy: reading takes no room
                from venice_batch.jobfile.reading import no_room

                raise no_room(error) from error
            raise refusal(name, f"cannot be read: {error.strerror or error}") from error
        yield Source(name, file, _stamp(file), os.path.dirname(name) if plain else "", **extras)


def refusal(name: str, what: str) -> JobsFileError:
    """Return the error for a problem of the file as a whole."""
    return JobsFileError([Problem(name, 0, "", what)])


def _open(name: str) -> BinaryIO | None:
    """Open a file; None if it is a folder."""
    try:
        return Path(name).open("rb")
    except FileNotFoundError:
        raise refusal(name, f"no such file{_nearest_file(Path(name))}") from None
    except IsADirectoryError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refusal(name, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _texts(name: str, stack: ExitStack) -> tuple[BinaryIO, dict[str, Any]]:
    """Return the prompts of a folder as JSON lines, and the fields of its `Source`."""
    from venice_batch.jobfile.folders import as_lines

    return _rewritten(as_lines(name), stack)


def _rewritten(
    lines: AbstractContextManager[tuple[BinaryIO, Rewritten]], stack: ExitStack
) -> tuple[BinaryIO, dict[str, Any]]:
    file, found = stack.enter_context(lines)
    return file, {name: getattr(found, name) for name in found.__slots__}


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
    if (kind := columns(head)) is not None:
        from venice_batch.jobfile import parquet

        return _rewritten(parquet.as_lines(name, file, kind), stack)
    if (what := not_text(head)) is not None:
        raise refusal(name, what)
    start = _first_text(file)
    if not start:
        raise refusal(name, "holds no jobs")
    suffix = _suffix(name)
    if suffix in {".csv", ".tsv", ".txt"}:
        from venice_batch.jobfile import tables

        file, extras = _rewritten(tables.as_lines(name, file, suffix, field_map, _stem(name)), stack)
        return file, extras if suffix == ".txt" else {**extras, "mapping": None}
    if start.startswith((b"[", b'"')):
        from venice_batch.jobfile import arrays

        if start.startswith(b"["):
            return _rewritten(arrays.as_lines(name, file), stack)
        if arrays.begins_with_string(file):
            return _rewritten(arrays.strings_as_lines(name, file), stack)
    start = start.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    what = json_hint(start)
    if start.startswith(b"{") and (what or (suffix == ".json" and b"\n" not in start.rstrip())):
        from venice_batch.jobfile import arrays

        what = arrays.object_hint(name, file) or what
    if (what := what or table_hint(start)) is not None:
        raise refusal(name, what)
    return file, {}


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
