"""Read a folder's records once, and pass them to everything made from them after a run."""

from __future__ import annotations

import tempfile
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.model import Status
from venice_batch.output.annotations import Annotations, read_annotations
from venice_batch.output.folder import unusable
from venice_batch.report.conditions import is_condition, parse_condition
from venice_batch.text_format import counted, json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from venice_batch.model import Outcome

OPTION = "--fail-on"

_MOST_NAMES = 10
_LONGEST_VALUE = 100
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
    """Why a job has no good image; `kind` is `failed`, `rejected`, `KNOWN`, `annotation` or the flag of its image."""

    kind: str
    message: str


class FailOn:
    """What makes a job fail although it has an image: flags, or conditions on its images' annotations.

    `words` are names of `Flags` and conditions such as `score<0.5`, as `--fail-on` takes them. The annotations are
    those of the folder `root` when they are first needed. An image without an annotation meets no condition on it.

    Raises:
        UsageError: a condition makes no sense.
    """

    def __init__(self, words: Collection[str] = (), root: Path | None = None) -> None:
        self.flags = tuple(sorted(word for word in words if not is_condition(word)))
        self.conditions = tuple(parse_condition(word, OPTION) for word in sorted(words) if is_condition(word))
        self._root = root

    @classmethod
    def of(cls, words: FailOn | Collection[str]) -> FailOn:
        """Return `words` as an object of this class."""
        return words if isinstance(words, FailOn) else cls(words)

    @cached_property
    def annotations(self) -> Annotations:
        """The annotations of the folder. Raises FolderError where they cannot be read."""
        return read_annotations(self._root) if self._root and self.conditions else Annotations()

    def failure(self, outcome: Outcome) -> FailureText | None:
        """Return why a job that has succeeded fails; None if it does not."""
        if (flag := next((flag for flag in self.flags if outcome.flags.has(flag)), None)) is not None:
            paths = ", ".join(file.path for file in outcome.files)
            words = {"content_violation": "a content violation"}.get(flag, flag)
            return FailureText(flag, f"the API marked the image as {words}: {paths}")
        for condition in self.conditions:
            for number, file in enumerate(outcome.files, 1):
                values = self.annotations.of(outcome, number)
                if condition.is_met(values):
                    found = json_bytes(values[condition.name]).decode()
                    return FailureText("annotation", f"{condition}: {file.path} has {found[:_LONGEST_VALUE]}")
        return None


def failure_text(
    outcome: Outcome, fail_on: FailOn | Collection[str], *, new_in: str | None = None
) -> FailureText | None:
    """Return why a job has no image, or an image that `fail_on` names; None if it has a good one.

    `new_in` is the id of the only run whose rejections count as `rejected`; those of other runs are `KNOWN`. None:
    all count.
    """
    if outcome.status is not Status.SUCCEEDED:
        error = outcome.error
        is_known = outcome.status is Status.REJECTED and new_in not in (None, outcome.run_id)
        kind = KNOWN if is_known else str(outcome.status)
        return FailureText(kind, f"{error.kind}: {error.message}" if error else "no reason is recorded")
    return FailOn.of(fail_on).failure(outcome)


class FlaggedJobs(Collector):
    """Count the jobs of the file that have a flag of `fail_on` or meet one of its conditions, whichever run made them.

    A job that was rejected for its content has that flag too.
    """

    def __init__(self, fail_on: FailOn | Collection[str]) -> None:
        super().__init__()
        self.count = 0
        self._fail_on = FailOn.of(fail_on)
        self._first: list[str] = []
        self._images = 0
        self._lacking: Counter[str] = Counter()

    def add(self, place: int | None, outcome: Outcome) -> None:
        if place is None:
            return
        for condition in self._fail_on.conditions:
            has = [condition.name in self._fail_on.annotations.of(outcome, at + 1) for at in range(len(outcome.files))]
            self._lacking[condition.name] += has.count(False)
        self._images += len(outcome.files)
        is_flagged = any(map(outcome.flags.has, self._fail_on.flags))
        if not is_flagged and (outcome.status is not Status.SUCCEEDED or self._fail_on.failure(outcome) is None):
            return
        self.count += 1
        if len(self._first) < _MOST_FLAGGED:
            self._first.append(outcome.id)

    def notices(self) -> Iterator[str]:
        """Yield sentences about images that no condition can judge, and about the jobs that fail."""
        known = self._fail_on.annotations.names
        for name, lacking in self._lacking.items():
            if not lacking:
                continue
            if lacking == self._images:
                names = f"; there is {', '.join(known[:_MOST_NAMES])}" if known and name not in known else ""
                yield f"{OPTION}: no image has the annotation {name!r} yet, so none can fail by it{names}"
            else:
                have = "has" if lacking == 1 else "have"
                which = f"{lacking:,} of {counted(self._images, 'image', grouped=True)}"
                yield f"{OPTION}: {which} {have} no annotation {name!r} and cannot fail by it"
        if self.count:
            yield self.notice()

    def notice(self) -> str:
        """Return a sentence with the number of jobs that fail and the first ids."""
        names = ", ".join(self._first) + (", …" if self.count > len(self._first) else "")
        what = f"with a flag of {OPTION}"
        if self._fail_on.conditions:
            what = f"{'meets' if self.count == 1 else 'meet'} {OPTION}"
        return f"{counted(self.count, 'job')} {what}: {names}"


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
