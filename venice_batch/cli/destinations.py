"""Where commands write: a run's folder, a file or standard output, temporary files."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from venice_batch.cli.env import environment
from venice_batch.cli.parameters import Target, option
from venice_batch.errors import JobsFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.output.manifest import FileView

PACKED = (".gz", ".zst")
"""Endings of packed files."""

COLUMNS = (".parquet", ".arrow", ".feather")
"""Endings of tables that are packed by column."""

_TEMPORARY_BYTES = 64 << 20
"""Room for jobs whose size is unknown, as on standard input."""

# It reads no variable: VENICE_BATCH_OUTPUT is a run's folder, never a file to overwrite.
outfile = option(
    "-o",
    "--output",
    type=Target(path_type=Path),
    metavar="FILE",
    allow_from_autoenv=False,
    show_default="standard output",
    help="Write to FILE, packed if it ends in .gz or .zst.",
)


def default_output(jobs: str) -> Path:
    """Return `output/<stem>`, where the stem is the name of the jobs file or folder without its endings."""
    name = "stdin" if jobs == "-" else Path(jobs).name
    if name in {"", ".."}:  # of `.` and `..`
        name = Path(jobs).resolve().name
    for ending in (*PACKED, ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", *COLUMNS):
        name = name.removesuffix(ending) or name
    return Path("output") / name


@dataclass(frozen=True, slots=True)
class Place:
    """The output of a run: the folder `root`, or a `bucket` whose scratch folder it is. Messages call it `name`."""

    root: Path
    name: str
    bucket: BucketFolder | None = None

    def whole(self) -> Callable[[Sequence[FileView]], bool] | None:
        """Copy the records of a bucket here, for a plan; return what says whether their images are there.

        None for a folder. Raises FolderError: the bucket cannot be read.
        """
        if self.bucket is None:
            return None
        self.bucket.copy()
        return self.bucket.whole(verify=False)


@contextmanager
def opened_place(output: Path | str, given: Mapping[str, Any]) -> Iterator[Place]:
    """Yield the place that `--output` names, with a scratch folder while the block lasts if that is a bucket.

    Raises:
        UsageError: the address is wrong, or the extra `bucket` is not installed.
        FolderError: no scratch folder can be made.
    """
    if isinstance(output, Path):
        yield Place(output, str(output))
        return
    from venice_batch.bucket.folder import opened as opened_bucket

    without_lock = given["bucket_without_lock"]
    with opened_bucket(output, os.environ, scratch=given["scratch"], without_lock=without_lock) as bucket:
        yield Place(bucket.root, bucket.address, bucket)


def errors_beside(path: Path) -> Path:
    """Return the error file of the output file `path`: `batch-errors.jsonl.gz` for `batch.jsonl.gz`."""
    packed = path.suffix if path.suffix in PACKED else ""
    plain = path.with_suffix("") if packed else path
    return plain.with_name(f"{plain.stem}-errors{plain.suffix}{packed}")


@contextmanager
def opened(path: Path | None, *, is_json: bool = True) -> Iterator[BinaryIO]:
    """Open `path` (None or `-`: standard output); the output appears only if the block ends without an exception.

    Where a CI's runner reads standard output, no text in the JSON can be mistaken for one of its commands.

    Raises:
        UsageError: nothing is connected to standard output.
        FolderError: the file cannot be written.
    """
    with _whole(path, is_json=is_json) as file:
        try:
            yield file
        except JobsFileError as error:
            error.undone = "written"
            raise


def _whole(path: Path | None, *, is_json: bool) -> AbstractContextManager[BinaryIO]:
    from venice_batch.output.atomic_file import whole_file, whole_stream

    if path is not None and str(path) != "-":
        return whole_file(path)
    env = environment()
    stream = env.stdout_bytes
    if stream is None:
        raise UsageError("nothing is connected to standard output; give -o FILE")
    has_reader = env.is_on_github or "TF_BUILD" in env.environ
    return whole_stream(cast("BinaryIO", _Escaping(stream)) if is_json and has_reader else stream)


class _Escaping:
    """Writes JSON to `stream` without any `##`, which a CI's runner may read as a command.

    The second character becomes an escape. `##` occurs only inside strings, so the JSON means the same.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._after_hash = False

    def write(self, data: bytes) -> int:
        escaped = data.replace(b"##", b"#\\u0023")
        if self._after_hash and data.startswith(b"#"):
            escaped = b"\\u0023" + data[1:].replace(b"##", b"#\\u0023")
        self._after_hash = escaped.endswith(b"#")
        self._stream.write(escaped)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


def settle_temporary_files(jobs: str, output: Path) -> None:
    """Put temporary files beside the output if their usual folder has no room for a copy of the jobs.

    They have no names there, so nothing is left behind. If that disk has no more room, the usual folder remains; the
    code that needs it reports the error.
    """
    import tempfile  # late, as `--help` needs none of it

    usual: str | None = None
    with suppress(FileNotFoundError):  # nothing there is writable
        usual = tempfile.gettempdir()
    needed = _TEMPORARY_BYTES
    with suppress(OSError, ValueError):  # `-`, or a path that fails when it is opened
        status = os.stat(jobs)
        if not stat.S_ISDIR(status.st_mode):
            needed = status.st_size * (20 if jobs.endswith((*PACKED, *COLUMNS)) else 2)
    if usual is not None and _free_bytes(usual) >= needed:
        return
    place = output.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    if os.access(place, os.W_OK | os.X_OK) and _free_bytes(str(place)) > (_free_bytes(usual) if usual else 0):
        tempfile.tempdir = str(place)


def _free_bytes(folder: str) -> int:
    import shutil

    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
