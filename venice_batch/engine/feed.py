"""A lane's jobs on their way from the file to the workers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.clock import Clock
    from venice_batch.model import Job


class Feed:
    """Jobs in their order, each with the moment it was read; `ahead` of them wait in memory, no more.

    Nothing is awaited here: a job is read when one before it is taken, and reading takes microseconds.
    """

    def __init__(self, jobs: Iterator[Job], ahead: int, clock: Clock) -> None:
        self._jobs = jobs
        self._ahead = ahead
        self._clock = clock
        self._waiting: deque[tuple[Job, float]] = deque()

    def take(self) -> tuple[Job, float] | None:
        """The next job and when it was read, in seconds of the clock; None when there is none left.

        Raises what the iterator raises, once; then the jobs read before are still there.
        """
        while len(self._waiting) <= self._ahead and (job := next(self._jobs, None)) is not None:
            self._waiting.append((job, self._clock.now()))
        return self._waiting.popleft() if self._waiting else None
