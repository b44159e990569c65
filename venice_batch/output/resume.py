"""The part of a jobs file that an output folder already holds, by its manifest."""

from __future__ import annotations

from array import array
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from venice_batch.model import Outcome, Status
from venice_batch.output import manifest
from venice_batch.output.folder import unusable
from venice_batch.output.manifest import NO_RECORD, FileView, RecordView, decode_view, numbered_outcomes, read_views
from venice_batch.output.parents import ParentImages
from venice_batch.output.plain_files import have_hashes, have_sizes
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from venice_batch.jobfile import JobIndex

PENDING, DONE, REJECTED, LOST, SANDBOX_ONLY, CHANGED = range(6)
"""To be made; made and whole; refused for good; a file is missing or changed; made by the sandbox only; the job has
changed since."""

_NO_RECORD_OF_IT = -1

_SUCCEEDED, _REJECTED = Status.SUCCEEDED.value, Status.REJECTED.value


class Resume:
    """The state of every job of an index, one byte and one file position each.

    Of an id's records the last one counts, if it is for the same request. A job is done only while each of its files is
    there with its size (with `verify`: its hash) or was pruned; otherwise it is pending again. `whole` answers that for
    files that are not below `root`. What the sandbox made is pending again unless `sandbox` says that it is asked
    again. `notices` report what was wrong, one sentence each.

    A job that waits for another's image is done while it was made from that very image, which `parents` chooses. While
    the other job is not done, neither is this one. `ended` keeps the states of such jobs up to date during a run.

    `keep_all` remembers the records of other jobs too, which takes some hundred bytes for each; `records` needs it.
    """

    def __init__(
        self,
        index: JobIndex,
        root: Path,
        *,
        verify: bool = False,
        sandbox: bool = True,
        keep_all: bool = False,
        whole: Callable[[Sequence[FileView]], bool] | None = None,
    ) -> None:
        """Read the manifest in `root`, if there is one.

        Raises:
            FolderError: it cannot be read, or it has lines but no record, and everything would be bought anew.
        """
        self._path = root / manifest.NAME
        self._states = bytearray(len(index))
        self._positions = array("q", [_NO_RECORD_OF_IT]) * len(index)
        self._others: dict[str, int] | None = {} if keep_all else None
        self.notices: tuple[str, ...] = ()
        self.parents = ParentImages(index, root)
        are_whole = whole or partial(have_hashes if verify else have_sizes, f"{root}/")
        self._state_of: Callable[[RecordView], int] = lambda record: _state_of(record, are_whole, sandbox=sandbox)
        if has_records(root):
            self._read(index)

    @property
    def done(self) -> int:
        """Jobs that need nothing more."""
        return self._states.count(DONE)

    @property
    def rejected(self) -> int:
        """Jobs that the API has refused for good."""
        return self._states.count(REJECTED)

    def is_done(self, place: int) -> bool:
        """Return whether the job at `place` of the index needs nothing more."""
        return self._states[place] == DONE

    def is_settled(self, place: int) -> bool:
        """Return whether it is done, or was refused for good."""
        return self._states[place] in (DONE, REJECTED)

    def ended(self, place: int, outcome: Outcome) -> None:
        """Take the outcome of a job in a chain into account; its record is written."""
        files = tuple(FileView(file.path, file.bytes, file.sha256) for file in outcome.files)
        self.note(place, RecordView(outcome.id, outcome.request_hash, outcome.status, files, outcome.sandbox))

    def note(self, place: int, record: RecordView) -> None:
        """Take a record of the job at `place` into account, as if it were in the manifest."""
        self.parents.note(place, record)
        ended = {_SUCCEEDED: DONE, _REJECTED: REJECTED}
        self._states[place] = ended.get(record.status, PENDING)

    def may_go(self, place: int) -> bool:
        """Return whether all jobs that a waiting job waits for are done."""
        return all(self._states[parent] == DONE for parent in self.parents.of(place))

    def judge(self, place: int) -> None:
        """Find the state of a waiting job from its record and those of the jobs that it waits for."""
        record = self.parents.records.get(place)
        if record is not None:
            is_current = self.may_go(place) and self.parents.were_used(place, record.request_hash)
            self._states[place] = self._state_of(record) if is_current else CHANGED

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcome that counts for each job with its place in the index, in the order of the records.

        Jobs without such an outcome are pending: lost files, another request, or the sandbox's where that does not
        count. Records written since the manifest was read are left out.

        Raises:
            FolderError: the manifest cannot be read.
        """
        return ((place, outcome) for place, outcome in self.records() if place is not None)

    def records(self) -> Iterator[tuple[int | None, Outcome]]:
        """Yield the last record of every id, in their order, each with its job's place, None if it counts for no job.

        Raises:
            FolderError: the manifest cannot be read.
        """
        counting = {PENDING, DONE, REJECTED}
        found = [
            (position, place if self._states[place] in counting else None)
            for place, position in enumerate(self._positions)
            if position != _NO_RECORD_OF_IT
        ]
        found += [(position, None) for position in (self._others or {}).values()]
        found.sort(key=lambda entry: entry[0])
        if not found:
            return
        decode = msgspec.json.Decoder(Outcome).decode
        try:
            with manifest.opened(self._path) as file:
                for position, place in found:
                    file.seek(position)
                    try:
                        outcome = decode(file.readline())
                    except NO_RECORD:
                        continue  # enough of a record to resume by, but not a whole one
                    yield place, outcome
        except OSError as error:
            raise unusable(self._path, error) from error

    def _read(self, index: JobIndex) -> None:
        states, positions, has_request = self._states, self._positions, index.has_request
        state_of, note = self._state_of, self.parents.note
        places, chained = index.directory().places, index.chains.ids
        passed_over = manifest.PassedOver()
        position = records = foreign = 0
        try:
            with manifest.opened(self._path) as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        record = decode_view(line)
                    except NO_RECORD:
                        if line.strip():
                            passed_over.note(number)
                            foreign += line.endswith(b"\n")
                    else:
                        records += 1
                        known = places(hash(record.id))
                        for place in known:
                            states[place] = state_of(record) if has_request(place, record.request_hash) else CHANGED
                            positions[place] = position
                            if place in chained:
                                note(place, record)
                        if not known and self._others is not None:
                            self._others[record.id] = position
                    position += len(line)
        except OSError as error:
            raise unusable(self._path, error) from error
        if foreign and not records:  # a line without its end may be all that a killed run has written
            raise manifest.without_records(self._path, passed_over.count)
        for place in index.chains.order:
            self.judge(place)
        self.notices = tuple(self._amiss(passed_over.notice(self._path)))

    def _amiss(self, passed_over: str) -> Iterator[str]:
        if passed_over:
            yield passed_over
        if lost := self._states.count(LOST):
            yield f"{counted(lost, 'job')} recorded as done lost a file or had it changed: pending again"
        if sandbox_only := self._states.count(SANDBOX_ONLY):
            yield f"{counted(sandbox_only, 'job')} done by the sandbox only: pending again"


def _state_of(record: RecordView, whole: Callable[[Sequence[FileView]], bool], *, sandbox: bool) -> int:
    """Return the state of the job that the record is about; ask `whole` about its files only where that matters."""
    if record.sandbox and not sandbox:
        return SANDBOX_ONLY
    if record.status == _SUCCEEDED:
        # A person has rejected the pruned ones: nobody wants them again.
        files = [file for file in record.files if not file.pruned]
        return DONE if (record.files and not files) or whole(files) else LOST
    return REJECTED if record.status == _REJECTED else PENDING


class LatestRecords:
    """The last whole record of each id, in the order in which these were written.

    Each iteration reads the file again, so that memory grows only by a number an id. Records appended after the
    construction are left out.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` once. Raises FolderError where it cannot be read, as does every iteration."""
        self._path = path
        self._lines = frozenset({outcome.id: number for number, outcome in numbered_outcomes(path)}.values())

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Outcome]:
        return (outcome for _, outcome in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Outcome]]:
        """Yield each record with the number of its line, from 1."""
        for number, outcome in numbered_outcomes(self._path):
            if number in self._lines:
                yield number, outcome


class Ownership:
    """The files that an earlier record of an id owns, looked up only when a file stands in the way.

    That is rare, so the manifest is read once more then, and only entries of pending jobs are kept.
    """

    def __init__(self, path: Path, index: JobIndex, resume: Resume) -> None:
        self._path = path
        self._index = index
        self._resume = resume
        self._owned: dict[str, tuple[str, ...]] | None = None

    def __call__(self, job_id: str) -> tuple[str, ...]:
        """Return the paths that the latest record with files has for `job_id`, relative to the output folder."""
        if self._owned is None:
            self._owned = self._read()
        return self._owned.get(job_id, ())

    def _read(self) -> dict[str, tuple[str, ...]]:
        directory = self._index.directory()
        owned = {}
        for _, record in read_views(self._path):
            # A later failure brings no files and takes none away.
            if record is None or not record.files:
                continue
            places = directory.places(hash(record.id))
            if any(not self._resume.is_done(place) for place in places):
                owned[record.id] = tuple(file.path for file in record.files)
        return owned


def has_records(root: Path) -> bool:
    """Return whether `root` holds anything of an earlier run to compare jobs with."""
    path = root / manifest.NAME
    return path.exists() and path.stat().st_size > 0


def largest_bytes(path: Path) -> int:
    """Return the size of the largest job's images, by the manifest at `path`; 0 where none is recorded."""
    sizes = (sum(file.bytes for file in record.files) for _, record in read_views(path) if record is not None)
    return max(sizes, default=0)
