"""Ids that are used more than once in a file."""

from __future__ import annotations

import hashlib
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple, Self

from venice_batch.jobfile.identity import has_implicit_id
from venice_batch.jobfile.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.model import Job


class Repeat(NamedTuple):
    """Where a job stands that has the id of another before it, which is on line `first`.

    `number` counts the file's jobs from 0, `offset` is that of the line, `sub` the place within it.
    """

    number: int
    offset: int
    line: int
    sub: int
    first: int


class Ids:
    """The ids of a file's jobs, told apart by 128 bits of BLAKE2, on disk but for what is under examination.

    Use it as a context. Memory is a megabyte and about a byte for each job.
    """

    def __init__(self) -> None:
        self._spill = Spill("<16sQIIH")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.__exit__()

    def add(self, job: Job, offset: int, sub: int) -> None:
        """Take in a job, in the file's order. Raises FolderError where the temporary file cannot be written."""
        digest = hashlib.blake2b(job.id.encode(), digest_size=16).digest()
        self._spill.add(digest, offset, job.line, job.index, sub)

    def repeats(self, most: int) -> tuple[list[Repeat], int]:
        """Return the first `most` jobs with the id of an earlier one, in the file's order, and how many there are.

        Raises:
            FolderError: the temporary file cannot be read.
        """
        total = 0

        def counted() -> Iterator[Repeat]:
            nonlocal total
            for repeat in self._repeats():
                total += 1
                yield repeat

        return nsmallest(most, counted()), total

    def _repeats(self) -> Iterator[Repeat]:
        for records in self._spill.groups():
            lines: dict[bytes, int] = {}
            for digest, offset, line, index, sub in records:
                if digest in lines:
                    yield Repeat(index, offset, line, sub, lines[digest])
                else:
                    lines[digest] = line


def complaint(job: Job, first: int) -> str:
    """Return what is wrong with a job whose id is used on the line `first` already."""
    if has_implicit_id(job):
        if first == job.line:
            return "the matrix makes the same request twice; give the line an id to have both"
        return f"the request is that of line {first}, where no id tells them apart; give each an id"
    return f"{job.id!r} is used on line {first} already"
