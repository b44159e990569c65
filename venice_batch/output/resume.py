"""What an output folder already holds of the jobs to run."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from venice_batch.output import manifest
from venice_batch.output.extract import Corrupt
from venice_batch.output.marks import Marks
from venice_batch.output.plain_files import have_hashes, have_sizes
from venice_batch.output.reading_process import ReadingProcess
from venice_batch.output.state import DONE, LOST, PLAYED, REJECTED
from venice_batch.output.stretches import SIZE_BYTES, opened, read
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from venice_batch.jobfile import JobIndex

_VERIFIED_BYTES = SIZE_BYTES // 16
"""A stretch's size where files are hashed, which takes that much longer, at least, than to look at their size."""

_LONG = 200
"""Stretches from which on another process is worth its start: 50 MB, some 60,000 records; with hashes a sixteenth."""


class Resume:
    """A byte a job: done and whole, rejected for good, or pending.

    Of an id's records the last one counts. A job is done only while each of its files is there with its size
    (with `verify`: its hash); otherwise it is pending again, as is what the sandbox made unless `sandbox` says that it
    is asked again. `notices` tell what was found amiss, in a sentence each.
    A million records take a few seconds and a few bytes each.
    """

    def __init__(self, index: JobIndex, root: Path, *, verify: bool = False, sandbox: bool = True) -> None:
        """Read the manifest in `root`, if there is one. Raises FolderError where it cannot be read."""
        self._root = root
        self._sandbox = sandbox
        self._states = bytes(len(index))
        self.notices: tuple[str, ...] = ()
        if has_records(root):
            self._read(index, root / manifest.NAME, verify=verify)

    @property
    def done(self) -> int:
        """Jobs that need nothing more."""
        return self._states.count(DONE)

    @property
    def rejected(self) -> int:
        """Jobs that the API has refused for good."""
        return self._states.count(REJECTED)

    def is_done(self, place: int) -> bool:
        """Whether the job at `place` of the index needs nothing more."""
        return self._states[place] == DONE

    def is_settled(self, place: int) -> bool:
        """Whether it is done, or was refused for good."""
        return self._states[place] in (DONE, REJECTED)

    def _read(self, index: JobIndex, path: Path, *, verify: bool) -> None:
        whole = partial(have_hashes if verify else have_sizes, f"{self._root}/")
        marks = Marks(index)
        corrupt, before = Corrupt(), 0
        extracted: dict[int, tuple[int, Corrupt]] = {}
        with ExitStack() as until_read:
            stretches = until_read.enter_context(opened(path, _VERIFIED_BYTES if verify else SIZE_BYTES))
            other = None
            if len(stretches) >= _LONG:
                other = until_read.enter_context(ReadingProcess(stretches, verify=verify, sandbox=self._sandbox))
            for number in range(len(stretches)):
                for its_number, extract in other.extracts(above=number) if other else ():
                    if its_number >= number:
                        marks.mark_back(extract.records)
                        extracted[its_number] = extract.lines, extract.corrupt
                if number in extracted:
                    count, found = extracted[number]
                else:
                    count, lines = stretches.lines(number)
                    found = marks.mark(lines, whole, sandbox=self._sandbox)
                corrupt.extend(found, before)
                before += count
        self._states = marks.states()
        self.notices = tuple(self._amiss(path, corrupt))

    def _amiss(self, path: Path, corrupt: Corrupt) -> Iterator[str]:
        if corrupt.count:
            lines = ", ".join(map(str, corrupt.numbers)) + ("…" if corrupt.count > len(corrupt.numbers) else "")
            yield f"{path}: passed over {counted(corrupt.count, 'line')} without a record (line {lines})"
        lost = self._states.count(LOST)
        if lost:
            yield f"{counted(lost, 'job')} recorded as done lost a file or had it changed: pending again"
        played = self._states.count(PLAYED)
        if played:
            yield f"{counted(played, 'job')} done by the sandbox only: pending again"


class Ownership:
    """Which files an earlier record of an id owns, looked up only when a file stands in the way.

    That is rare, so the manifest is read once more then, and only what concerns pending jobs is kept.
    """

    def __init__(self, path: Path, index: JobIndex, resume: Resume) -> None:
        self._path = path
        self._index = index
        self._resume = resume
        self._owned: dict[str, tuple[str, ...]] | None = None

    def __call__(self, job_id: str) -> tuple[str, ...]:
        """The paths that the latest record with files has for `job_id`, relative to the output folder."""
        if self._owned is None:
            self._owned = self._read()
        return self._owned.get(job_id, ())

    def _read(self) -> dict[str, tuple[str, ...]]:
        directory = self._index.directory()
        owned = {}
        for _, record in read(self._path):
            # A later failure brings no files and takes none away.
            if record is None or not record.files:
                continue
            places = directory.places(hash(record.id))
            if any(not self._resume.is_done(place) for place in places):
                owned[record.id] = tuple(file.path for file in record.files)
        return owned


def has_records(root: Path) -> bool:
    """Whether there is anything of an earlier run in `root` to compare jobs with."""
    path = root / manifest.NAME
    return path.exists() and path.stat().st_size > 0


def largest_bytes(path: Path) -> int:
    """The size of the images of the job that has the largest, by the manifest at `path`; 0 where none is recorded."""
    return max((sum(file.bytes for file in record.files) for _, record in read(path) if record is not None), default=0)
