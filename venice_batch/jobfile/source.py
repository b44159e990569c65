"""The jobs file as a seekable file of lines, whatever it comes from.

Plain files are read where they are. Standard input, pipes, `.gz`, `.zst` and tables are copied to an unnamed
temporary file first: a run reads its jobs again when their turn comes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import JobsFileError, Problem
from venice_batch.jobfile.content import HEAD_BYTES, compression, json_hint, not_text, table_hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class Source:
    """An open jobs file: `name` as messages say it, `file` seekable, with JSON lines in it.

    `stamp` is the file's size and time of change (ns) when it was opened. Relative paths in its lines start at
    `folder`: the file's own, the current one ("") for standard input and pipes. `suspects` are keys of metadata that
    may be mistyped fields, as a table's columns can be, with a word about each.
    """

    name: str
    file: BinaryIO
    stamp: tuple[int, int]
    folder: str = ""
    suspects: Mapping[str, str] = field(default_factory=dict)

    def unchanged(self) -> bool:
        """Tell whether the file still has the size and time of change that it was opened with, or has only grown.

        What was added meanwhile belongs to no job of this run; what became of the lines before it, the jobs tell.
        """
        size, changed_ns = _stamp(self.file)
        return changed_ns == self.stamp[1] if size == self.stamp[0] else size > self.stamp[0]


@contextmanager
def open_source(path: str | os.PathLike[str], stdin: BinaryIO | None = None) -> Iterator[Source]:
    """Open the jobs file `path`, or `stdin` where `path` is "-"; the source is closed at the end.

    Raises:
        JobsFileError: it cannot be read, or cannot be a jobs file; one problem, of the file as a whole.
        FolderError: there is no room for a copy that has to be made of it.
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
            file, suspects = _as_lines(name, file, plain, stack)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # that of the copy: reading takes no room
                from venice_batch.jobfile.spool import no_room

                raise no_room(error) from error
            raise refusal(name, f"cannot be read: {error.strerror or error}") from error
        yield Source(name, file, _stamp(file), os.path.dirname(name) if plain else "", suspects)


def refusal(name: str, what: str) -> JobsFileError:
    """Return the error that says `what` of the file as a whole."""
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


def _as_lines(name: str, file: BinaryIO, plain: bool, stack: ExitStack) -> tuple[BinaryIO, Mapping[str, str]]:
    """Return `file`, or a copy of it, as JSON lines, and its suspects; copies are closed with `stack`."""
    # Imported late: `check jobs.jsonl` pays for no decompressor and no temporary file.
    if not plain:
        from venice_batch.jobfile.spool import copied

        file = stack.enter_context(copied(name, file))
    if packed := compression(_head(file)):
        from venice_batch.jobfile.spool import unpacked

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

        return stack.enter_context(as_lines(name, file, suffix))
    start = start.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if (what := json_hint(start, suffix) or table_hint(start)) is not None:
        raise refusal(name, what)
    return file, {}


def _suffix(name: str) -> str:
    """Return the suffix that tells the content: that of `jobs.csv.gz` is ".csv"."""
    path = Path(name)
    return (path if path.suffix.lower() not in {".gz", ".zst"} else path.with_suffix("")).suffix.lower()


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD_BYTES)


def _first_text(file: BinaryIO) -> bytes:
    """Return some bytes from the first that is not white space on; b"" if there is none."""
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
