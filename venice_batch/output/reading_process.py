"""A process of its own that reads a long manifest from its end.

Decoding records keeps a processor busy, as does looking at a million files; threads would only take turns at it.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, cast

import msgspec

from venice_batch.output import child
from venice_batch.output.extract import Extract
from venice_batch.output.reader import GREETING, HEADER

if TYPE_CHECKING:
    import subprocess
    from typing import Self

    from venice_batch.output.stretches import Stretches

_AHEAD = 8
"""Stretches asked for and not answered: keeps it at work while this process is at one of its own. So many may be done
twice at the end."""

_PIPE_BYTES = 256 * 1024
"""Room for their extracts."""

_decode = msgspec.msgpack.Decoder(Extract).decode


class ReadingProcess:
    """Makes extracts of stretches, from the last one back, while its caller goes through them from the first one on.

    It is never waited for: stretches whose extracts have not come in time are left to the caller. So no harm is done
    if it cannot be started, stands still or is killed. No signal of the terminal's reaches it, it knows no key, and it
    ends with this object, or when this process is no more.
    """

    def __init__(self, stretches: Stretches, *, verify: bool, sandbox: bool) -> None:
        """Start it; `verify` and `sandbox` are those of `Resume`."""
        self._next = len(stretches) - 1
        self._unanswered = 0
        self._greeted = False
        self._received = bytearray()
        self._process = _start(stretches, verify=verify, sandbox=sandbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def extracts(self, *, above: int) -> list[tuple[int, Extract]]:
        """The extracts that have come since the last call, with their stretches' numbers in descending order.

        More are asked for then, of stretches `above` that number; so some may come that are not wanted any more.
        """
        arrived: list[tuple[int, Extract]] = []
        if self._process is not None:
            try:
                self._receive(cast("IO[bytes]", self._process.stdout), arrived)
                self._ask(cast("IO[bytes]", self._process.stdin), above)
            except (OSError, EOFError):
                self._end()
        return arrived

    def _receive(self, pipe: IO[bytes], arrived: list[tuple[int, Extract]]) -> None:
        while self._unanswered:
            try:
                part = os.read(pipe.fileno(), _PIPE_BYTES)
            except BlockingIOError:
                return
            if not part:
                raise EOFError
            self._received += part
            self._sort(arrived)

    def _sort(self, arrived: list[tuple[int, Extract]]) -> None:
        received = self._received
        if not self._greeted:
            if not GREETING.startswith(received[: len(GREETING)]):
                raise EOFError  # some other program's, which is as good as none
            if len(received) < len(GREETING):
                return
            self._greeted = True
            del received[: len(GREETING)]
        while len(received) >= HEADER.size:
            number, size = HEADER.unpack_from(received)
            end = HEADER.size + size
            if len(received) < end:
                return
            arrived.append((number, _decode(received[HEADER.size : end])))
            self._unanswered -= 1
            del received[:end]

    def _ask(self, pipe: IO[bytes], above: int) -> None:
        while self._unanswered < _AHEAD and self._next > above:
            pipe.write(b"%d\n" % self._next)
            self._next -= 1
            self._unanswered += 1

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:
                pass  # its pipes are closed, it is waited for


def _start(stretches: Stretches, *, verify: bool, sandbox: bool) -> subprocess.Popen[bytes] | None:
    """The process, or None where there can be none."""
    options = (stretches.path, stretches.file, stretches.size_bytes, int(verify), int(sandbox))
    process = child.start("venice_batch.output.reader", options, files=(stretches.file,), pipe_bytes=_PIPE_BYTES)
    if process is not None:
        os.set_blocking(cast("IO[bytes]", process.stdout).fileno(), False)
    return process
