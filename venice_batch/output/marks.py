"""The state of every job, by a manifest that is read from both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.output.extract import Corrupt
from venice_batch.output.record import records
from venice_batch.output.state import PENDING, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from venice_batch.jobfile import JobIndex
    from venice_batch.output.record import FileView

_LATER = 0x80
"""Marks a state that no record read from the start changes any more."""

_PLAIN = bytes(value & ~_LATER for value in range(256))


class Marks:
    """A byte a job: what the last record of its id says, as `state_of`; pending if that is of another request.

    Stretches are given from the first one on, extracts from the last one back, until they meet.
    """

    def __init__(self, index: JobIndex) -> None:
        self._places = index.directory().places
        self._has_request = index.has_request
        self._states = bytearray(len(index))

    def states(self) -> bytes:
        """The states of all jobs, in the index's order."""
        return bytes(self._states.translate(_PLAIN))

    def mark(self, lines: Iterable[bytes], whole: Callable[[Sequence[FileView]], bool], *, sandbox: bool) -> Corrupt:
        """Go through the lines of the next stretch; returns which are none. Only files that matter are looked at."""
        states, places, has_request = self._states, self._places, self._has_request
        corrupt = Corrupt()
        for number, record in records(lines):
            if record is None:
                corrupt.add(number)
                continue
            for place in places(hash(record.id)):
                if states[place] >= _LATER:
                    continue
                if has_request(place, record.request_hash):
                    states[place] = state_of(record, whole, sandbox=sandbox)
                else:
                    states[place] = PENDING  # the line has changed since
        return corrupt

    def mark_back(self, extracted: Sequence[tuple[str, str, int]]) -> None:
        """Go through the extracted records of the stretch before."""
        states, places, has_request = self._states, self._places, self._has_request
        for job_id, request_hash, state in reversed(extracted):
            for place in places(hash(job_id)):
                if states[place] < _LATER:
                    states[place] = _LATER | (state if has_request(place, request_hash) else PENDING)
