"""Where a command's lines go: standard output, or the file that `-o` names."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.cli import options
from venice_batch.errors import JobsFileError, UsageError
from venice_batch.whole_file import whole_file, whole_stream

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


@contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """Open `path` (None or `-`: standard output); nothing is written unless the block ends without an exception.

    Raises:
        UsageError: nothing is connected to standard output.
        FolderError: the file cannot be written.
    """
    with _whole(path) as file:
        try:
            yield file
        except JobsFileError as error:
            error.undone = "written"
            raise


def _whole(path: Path | None) -> AbstractContextManager[BinaryIO]:
    if path is not None and str(path) != "-":
        return whole_file(path)
    stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise UsageError("nothing is connected to standard output; give -o FILE")
    return whole_stream(stream)
