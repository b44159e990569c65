"""Read a folder's records once, and pass them to everything made from them after a run."""

from __future__ import annotations

import tempfile
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.model import Status
from venice_batch.output.folder import unusable
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from venice_batch.model import Outcome

_MOST_FLAGGED = 5
"""Ids that the notice about flagged jobs names."""

_IN_MEMORY_BYTES = 256 * 1024


class Collector(ABC):
    """Something made from the records of a folder, which it receives one at a time.

    `error` is the exception that `add` raised, None so far. `collect` stores it there, so that one collector's failure
    reaches neither the others nor the run. `run_id` is the id of the run that has just ended; records with another id
    are from earlier runs.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.run_id = ""

    @abstractmethod
    def add(self, place: int | None, outcome: Outcome) -> None:
        """Take in a record; `place` is its job's place in the jobs file, None if it counts for no job of that file."""

    def raise_error(self) -> None:
        """Raise the stored error, if there is one. Call it before making the result."""
        if self.error is not None:
            raise self.error


def collect(
    records: Callable[[], Iterable[tuple[int | None, Outcome]]], collectors: Sequence[Collector], *, run_id: str = ""
) -> None:
    """Call `records` once and pass each record to every collector; `run_id` is the id of the run that has just ended.

    A collector that raises gets no more records; if the records cannot be read, that is every collector's error.
    Raises nothing.
    """
    left = list(collectors)
    for collector in left:
        collector.run_id = run_id
    try:
        for place, outcome in records():
            for collector in tuple(left):
                try:
                    collector.add(place, outcome)
                except Exception as error:  # noqa: BLE001 - kept until this collector's result is made
                    collector.error = error
                    left.remove(collector)
    except Exception as error:  # noqa: BLE001 - as above, for all that are left
        for collector in left:
            collector.error = error


KNOWN = "rejected before"
"""The kind of a rejection from an earlier run, where `--known-rejected ok` lets it pass."""


class FailureText(NamedTuple):
    """Why a job has no good image; `kind` is `failed`, `rejected`, `KNOWN` or the flag of its image."""

    kind: str
    message: str


def failure_text(outcome: Outcome, fail_on: Collection[str], *, new_in: str | None = None) -> FailureText | None:
    """Return why a job has no image, or an image with a flag of `fail_on`; None if it has a good one.

    `new_in` is the id of the only run whose rejections count as `rejected`; those of other runs are `KNOWN`. None:
    all count.
    """
    if outcome.status is not Status.SUCCEEDED:
        error = outcome.error
        is_known = outcome.status is Status.REJECTED and new_in not in (None, outcome.run_id)
        kind = KNOWN if is_known else str(outcome.status)
        return FailureText(kind, f"{error.kind}: {error.message}" if error else "no reason is recorded")
    flag = next((flag for flag in sorted(fail_on) if outcome.flags.has(flag)), None)
    if flag is None:
        return None
    paths = ", ".join(file.path for file in outcome.files)
    words = {"content_violation": "a content violation"}.get(flag, flag)
    return FailureText(flag, f"the API marked the image as {words}: {paths}")


class FlaggedJobs(Collector):
    """Count the jobs of the file that have a flag of `fail_on`, whichever run made them."""

    def __init__(self, fail_on: Collection[str]) -> None:
        super().__init__()
        self.count = 0
        self._fail_on = fail_on
        self._first: list[str] = []

    def add(self, place: int | None, outcome: Outcome) -> None:
        if place is None or not any(map(outcome.flags.has, self._fail_on)):
            return
        self.count += 1
        if len(self._first) < _MOST_FLAGGED:
            self._first.append(outcome.id)

    def notice(self) -> str:
        """Return a sentence with their number and the first ids."""
        names = ", ".join(self._first) + (", …" if self.count > len(self._first) else "")
        return f"{counted(self.count, 'job')} with a flag of --fail-on: {names}"


class Spool:
    """Lines kept until the text before them is complete: a few in memory, more in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed as below
        weakref.finalize(self, self._file.close)

    def write(self, line: bytes) -> None:
        """Add a line with its line feed. Raises FolderError if the temporary file cannot take it."""
        try:
            self._file.write(line)
        except OSError as error:
            raise unusable(Path(tempfile.gettempdir()), error) from error

    def drain(self) -> Iterator[bytes]:
        """Yield the lines, once, and free them."""
        with self._file as file:
            file.seek(0)
            yield from file
