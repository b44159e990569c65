"""Where a command's lines go: standard output, or the file that `-o` names."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from venice_batch.ci import commands
from venice_batch.cli import options
from venice_batch.errors import JobsFileError, UsageError
from venice_batch.whole_file import whole_file, whole_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# VENICE_BATCH_OUTPUT is the folder of a run; no file is ever to be written there.
outfile = options.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    allow_from_autoenv=False,
    show_default="standard output",
    help="Write to FILE, packed if it ends in .gz or .zst.",
)


def print_json(value: object, *, enc_hook: Callable[[Any], Any] | None = None) -> None:
    """Print one JSON object on standard output.

    `##`, with which commands to a pipeline begin, is written in a way that only JSON reads as the same.

    Raises:
        OSError: it cannot be written.
    """
    from venice_batch.summary import as_json

    click.echo(as_json(value, enc_hook=enc_hook).replace(b"##", b"#\\u0023"))


@contextmanager
def opened(path: Path | None, *, is_json: bool = True) -> Iterator[BinaryIO]:
    """Open `path` (None or `-`: standard output); nothing is written unless the block ends without an exception.

    `is_json` says that it is JSON, which stays the same to whoever reads it where a pipeline reads commands in it.

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
    return whole_stream(commands.quoting(stream) if is_json else stream)
