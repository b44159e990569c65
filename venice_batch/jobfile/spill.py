"""Records of one size, grouped by how they begin, on disk as far as they are many."""

from __future__ import annotations

import struct
from array import array
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from venice_batch.jobfile.reading import no_room, temporary

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = 256
"""How many groups there are, one for each first byte: what is done to a whole group takes so much less memory."""

BUFFER_BYTES = 4096
"""How much of a group is kept in memory before it goes to the disk: a megabyte for all."""


class Spill:
    """Records that begin with a key of bytes, to be read again group by group; those of one key are in one group.

    Use it as a context. The temporary file is made when a buffer is full for the first time; it has no name and is
    gone at the end. Beside the buffers, memory is four bytes for each of them that was written.

    Raises:
        FolderError: the folder for temporary files is full, or there is none.
    """

    def __init__(self, form: str) -> None:
        """Take records of the `struct` format `form`; keys should begin with any byte equally often."""
        self._struct = struct.Struct(form)
        self._chunk_bytes = -(-BUFFER_BYTES // self._struct.size) * self._struct.size
        self._buffers = [bytearray() for _ in range(GROUPS)]
        self._chunks = [array("I") for _ in range(GROUPS)]
        self._written = 0
        self._file: BinaryIO | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what a full disk has not taken is not needed any more
            self._held.close()

    def add(self, key: bytes, *values: int) -> None:
        """Take in one record."""
        group = key[0] % GROUPS
        buffer = self._buffers[group]
        buffer += self._struct.pack(key, *values)
        if len(buffer) >= self._chunk_bytes:
            self._write(group)

    def groups(self) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Yield each group's records in the order in which they came; take in no more meanwhile."""
        return map(self._records, range(GROUPS))

    def _write(self, group: int) -> None:
        try:
            if self._file is None:
                self._file = self._held.enter_context(temporary())
            self._file.write(self._buffers[group])
        except OSError as error:
            raise no_room(error) from error
        self._buffers[group].clear()
        self._chunks[group].append(self._written)
        self._written += 1

    def _records(self, group: int) -> Iterator[tuple[Any, ...]]:
        for chunk in self._chunks[group]:
            yield from self._struct.iter_unpack(self._read(chunk))
        yield from self._struct.iter_unpack(self._buffers[group])

    def _read(self, chunk: int) -> bytes:
        assert self._file is not None  # noqa: S101 - told to the type checker
        try:
            self._file.seek(chunk * self._chunk_bytes)
            return self._file.read(self._chunk_bytes)
        except OSError as error:
            raise no_room(error) from error
