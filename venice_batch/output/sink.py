"""Images to files: whole under their names, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import BodyError, UnrecognisedError
from venice_batch.model import ImageFile
from venice_batch.output.buffers import Buffers
from venice_batch.output.folder import IMAGES, PART_SUFFIX, unusable
from venice_batch.output.memory import BUFFER_BYTES, Memory
from venice_batch.output.naming import safe_name
from venice_batch.output.orders import Done, Drop, NoImage, Place, Taken, Trouble, Unrecognised, Write
from venice_batch.output.workers import DiskWorkers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from venice_batch.api.decode import Piece
    from venice_batch.model import Job
    from venice_batch.output.orders import Order
    from venice_batch.output.workers import Worker

_SPARE_BUFFERS = 2


class DiskSink:
    """Files below `root`; the event loop never waits for the disk.

    An image is written to a temporary file in the folder where it will stand, hashed on the way, and linked to
    its name when whole. A file that stands there already is replaced only when `replaceable` says that an
    earlier record of the same id owns it; otherwise the new one gets `~1`, `~2`, … after its name. `stem` gives
    the name without extension; folders in it have to be there.
    `durable`: file and folder are on the disk (fsync) before `commit` returns. Of more writers than `concurrency`,
    some wait for others.
    A context manager: what it has started for its work has ended when it is left.
    """

    def __init__(
        self,
        root: Path,
        *,
        run_id: str,
        durable: bool = False,
        concurrency: int = 16,
        replaceable: Callable[[str], Collection[str]] = lambda job_id: (),
        stem: Callable[[Job], str] = lambda job: safe_name(job.id),
    ) -> None:
        self.root = root
        self.run_id = run_id
        self.durable = durable
        self.replaceable = replaceable
        self.stem = stem
        self.buffers = Buffers(concurrency + _SPARE_BUFFERS)
        self.memory = Memory(concurrency + _SPARE_BUFFERS)
        self.workers = DiskWorkers(f"{root / IMAGES}", self.memory)
        self._writers = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.workers.close()

    def writer(self, job: Job) -> DiskWriter:
        self._writers += 1
        return DiskWriter(self, job, self._writers)


class DiskWriter:
    """One attempt's images; see `ImageWriter`."""

    def __init__(self, sink: DiskSink, job: Job, number: int) -> None:
        self._sink = sink
        self._job = job
        self._stem = sink.stem(job)
        self._number = number
        self._parts: list[str] = []
        self._ended = True
        self._written = False
        self._worker: Worker = sink.workers
        self._buffer = -1
        self._filled = 0
        self._ordered_bytes = 0

    async def write(self, piece: Piece) -> None:
        if piece.image == len(self._parts):
            await self._begin()
        self._ended = piece.last
        data = memoryview(piece.data)  # so that its parts are no copies
        while data:
            if self._buffer < 0:
                self._buffer, self._filled = await self._sink.buffers.take(), 0
            size = self._sink.memory.fill(self._buffer, self._filled, data)
            self._filled += size
            data = data[size:]
            if self._filled == BUFFER_BYTES:
                await self._flush()

    async def commit(self, *, all_came: bool = True) -> tuple[ImageFile, ...]:
        if not self._parts:
            raise BodyError("the answer holds no image")
        if not self._ended:
            raise BodyError("the answer ends before its image does")
        wanted = self._job.request.get("variants") or 1
        many = len(self._parts) > 1 or wanted > 1
        stems = [f"{self._stem}-{number}" if many else self._stem for number in range(1, len(self._parts) + 1)]
        order = Place(
            tuple(self._parts), tuple(stems), self._unwritten(), durable=self._sink.durable, all_came=all_came
        )
        self._written = True
        ending = await self._carry_out(order)
        if isinstance(ending, Taken):
            try:
                owned = tuple(await self._sink.workers.threads.run(lambda: self._sink.replaceable(self._job.id)))
            except OSError as error:
                raise unusable(self._sink.root, error) from error
            ending = await self._carry_out(msgspec.structs.replace(order, write=None, owned=owned))
        if isinstance(ending, NoImage):
            raise BodyError(ending.why)
        if isinstance(ending, Unrecognised):
            self._parts = []
            raise UnrecognisedError(ending.paths)
        assert isinstance(ending, Done)  # noqa: S101  (with `owned` given nothing else is left)
        self._parts = []
        return ending.files

    async def discard(self) -> None:
        if self._buffer >= 0:
            self._give_back()
        if self._parts and self._written:
            parts, self._parts = self._parts, []
            await self._worker.run(Drop(tuple(parts)))

    async def _begin(self) -> None:
        if self._parts:
            await self._flush()
        else:
            self._worker = await self._sink.workers.choose()
        folder, _, _ = self._stem.rpartition("/")
        name = f".{self._sink.run_id}-{self._number}-{len(self._parts)}{PART_SUFFIX}"
        self._ordered_bytes = 0
        self._parts.append(f"{folder}/{name}" if folder else name)

    async def _flush(self) -> None:
        write = self._unwritten()
        if write is not None:
            self._written = True
            await self._carry_out(write)
            self._ordered_bytes += write.size

    def _unwritten(self) -> Write | None:
        if self._buffer < 0:
            return None
        return Write(self._parts[-1], self._buffer, self._filled, self._ordered_bytes)

    async def _carry_out(self, order: Order) -> Done | NoImage | Unrecognised | Taken:
        try:
            ending = await self._worker.run(order)
        finally:
            if self._buffer >= 0:
                self._give_back()
        if isinstance(ending, Trouble):
            raise unusable(self._sink.root, OSError(ending.errno, ending.why))
        return ending

    def _give_back(self) -> None:
        buffer, self._buffer = self._buffer, -1
        self._sink.buffers.give_back(buffer)
