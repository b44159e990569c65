"""What runs in the process that reads a manifest for another.

    python -m venice_batch.output.reader MANIFEST DESCRIPTOR STRETCH_BYTES VERIFY SANDBOX

Numbers of stretches come as lines on standard input, their extracts go to standard output; it ends with either of them.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from venice_batch._version import __version__
from venice_batch.output.extract import extract
from venice_batch.output.plain_files import have_hashes, have_sizes
from venice_batch.output.stretches import Stretches

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

GREETING = f"venice-batch {__version__}: names of files are {sys.getfilesystemencoding()}\n".encode()
"""Comes first. Where it is another, so would be the extracts."""

HEADER = Struct("<II")
"""Comes before each extract: its stretch's number, its length in bytes."""


def serve(
    numbers: Iterable[bytes], out: BinaryIO, path: Path, file: int, size_bytes: int, verify: bool, sandbox: bool
) -> None:
    """Write the extract of every stretch of `numbers` to `out`; the rest is as for `Stretches` and `Resume`."""
    stretches = Stretches(path, file, size_bytes)
    whole = partial(have_hashes if verify else have_sizes, f"{path.parent}/")
    out.write(GREETING)
    for number in map(int, numbers):
        found = msgspec.msgpack.encode(extract(*stretches.lines(number), whole, sandbox=sandbox))
        out.write(HEADER.pack(number, len(found)) + found)
        out.flush()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        file, size_bytes, verify, sandbox = map(int, sys.argv[2:])
        serve(sys.stdin.buffer, sys.stdout.buffer, Path(sys.argv[1]), file, size_bytes, bool(verify), bool(sandbox))
