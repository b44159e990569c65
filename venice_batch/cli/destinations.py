"""Where a command's lines go: standard output, or the file that `-o` names."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from venice_batch.cli import options
from venice_batch.errors import JobsFileError, UsageError
from venice_batch.output.atomic_file import whole_file, whole_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

# VENICE_BATCH_OUTPUT is the folder of a run; no file is ever to be written there.
outfile = options.option(
    "-o",
    "--output",
    type=options.Target(path_type=Path),
    metavar="FILE",
    allow_from_autoenv=False,
    show_default="standard output",
    help="Write to FILE, packed if it ends in .gz or .zst.",
)


class _Escaping:
    """Pass JSON on to `stream` without any `##`, which a CI's runner may take for the start of a command.

    The second character is written as an escape. It stands in strings only, so the JSON means the same.
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


@contextmanager
def opened(path: Path | None, *, is_json: bool = True) -> Iterator[BinaryIO]:
    """Open `path` (None or `-`: standard output); nothing is written unless the block ends without an exception.

    Where a CI's runner reads standard output, JSON is written such that no text in it is taken for a command.

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
    if path is not None and str(path) != "-":
        return whole_file(path)
    stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise UsageError("nothing is connected to standard output; give -o FILE")
    is_read = os.environ.get("GITHUB_ACTIONS") == "true" or "TF_BUILD" in os.environ
    return whole_stream(cast("BinaryIO", _Escaping(stream)) if is_json and is_read else stream)
